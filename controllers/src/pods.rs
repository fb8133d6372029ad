//! What controllers ask about a pod: whether it counts, whether it is ready, and since when.

use std::time::Duration;

use coracle_client::{Index, Store};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};

use crate::conditions;

/// The condition of a pod that is removed for a reason outside itself.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// The pod's phase; `Pending` where it has none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether its containers have ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it counts as a replica: neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether it is being deleted and its containers may still run.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// One of the pod's conditions.
pub fn condition<'a>(pod: &'a Pod, of_type: &str) -> Option<&'a PodCondition> {
    conditions::find(pod.status.as_ref()?.conditions.as_ref()?, of_type)
}

/// Whether its condition `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when it is ready; `None` for a pod that is not, or does not say.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// When a ready pod counts as available. A ready pod that does not say since when never does, if a wait is asked for.
pub fn available_at(pod: &Pod, min_ready: Duration) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready.is_zero() {
        return Some(ready_since(pod).unwrap_or(Timestamp::MIN));
    }
    ready_since(pod)?.checked_add(min_ready).ok()
}

/// Whether it has been ready for as long as it takes to count as available.
pub fn is_available(pod: &Pod, min_ready: Duration, now: Timestamp) -> bool {
    min_ready.is_zero() && is_ready(pod) || available_at(pod, min_ready).is_some_and(|at| at <= now)
}

/// The pod's conditions with this one true; one that says the same already keeps its time.
pub fn with_condition(
    pod: &Pod,
    of_type: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<PodCondition> {
    let new = PodCondition {
        type_: of_type.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        observed_generation: pod.metadata.generation,
        last_probe_time: None,
        last_transition_time: None,
    };
    let mut all = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions::put(&mut all, new, now);
    all
}

/// A merge patch of the pod's conditions, if it has not changed meanwhile.
pub fn conditions_patch(pod: &Pod, conditions: &[PodCondition]) -> Value {
    json!({
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": conditions},
    })
}

/// Pods by the node that they are bound to.
pub fn by_node(pods: &Store<Pod>) -> Index<Pod> {
    pods.index(|pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect())
}
