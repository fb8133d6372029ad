//! What has to be said of a node, decided from one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Action, NewEvent, Op, Plan, Typed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::health;
use super::taints::{self, Eviction};
use crate::workload::name;
use crate::{Timing, pods, time};

/// Labels that old clients look for, and the ones that they follow.
const OLD_LABELS: [(&str, &str); 2] =
    [("kubernetes.io/arch", "beta.kubernetes.io/arch"), ("kubernetes.io/os", "beta.kubernetes.io/os")];

/// The shortest wait: a node whose time is just running out is looked at once, not many times.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// All that `plan` may look at.
pub struct Observed {
    /// The node.
    pub node: Arc<Node>,
    /// When it was last heard of.
    pub heard: Timestamp,
    /// Whether it may lose its pods.
    pub eviction: Eviction,
    /// When to ask again whether it may.
    pub ask_again: Option<Duration>,
    /// Where the node has failed, the pods on it that still say that they are ready.
    pub unready: Vec<Arc<Pod>>,
    /// How patient the controller is.
    pub timing: Timing,
}

/// Decides and does nothing else: same input, same output, and no actions once converged.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let Observed { node, heard, timing, .. } = observed;
    let unsaid = health::ready(node).is_none();
    let grace = if unsaid { timing.node_startup_grace } else { timing.node_grace };
    let silent_at = heard.checked_add(grace).unwrap_or(Timestamp::MAX);
    if silent_at <= now
        && let Some(conditions) = health::silenced(node, now)
    {
        // Taints and pods follow from the conditions, whose change wakes us.
        return Plan::of(vec![silence(node, &json!(conditions))]);
    }
    let mut actions: Vec<Action> = node_patch(observed, now).into_iter().collect();
    actions.extend(observed.unready.iter().map(|pod| unready(pod, now)));
    let until_silent = (silent_at > now).then(|| time::until(silent_at, now));
    let wait = observed.ask_again.into_iter().chain(until_silent).min();
    Plan::of(actions).and_look_again(wait.map(|wait| wait.max(SHORTEST_WAIT)))
}

/// Says in a node's conditions that it is no longer heard of.
fn silence(node: &Node, conditions: &Value) -> Action {
    let meta = json!({"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version});
    let patch = json!({"metadata": meta, "status": {"conditions": conditions}});
    let action = Action::write(Op::merge_status(node.key(), patch));
    if health::ready(node) != Some("True") {
        return action;
    }
    let message = format!("Node {} status is now: NodeNotReady", name(&node.metadata));
    action.with_event(NewEvent::normal(node, "NodeNotReady", message).of_any_version())
}

/// What has to change on the node itself: taints, and labels that follow others.
fn node_patch(observed: &Observed, now: Timestamp) -> Option<Action> {
    let node = &*observed.node;
    let mut patch = json!({});
    if let Some(taints) = taints::wanted(node, observed.eviction, now) {
        patch["spec"]["taints"] = if taints.is_empty() { Value::Null } else { json!(taints) };
        // The list is replaced whole: whoever has changed it meanwhile must not lose that.
        patch["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
    }
    let labels = old_labels(node);
    if !labels.is_empty() {
        patch["metadata"]["labels"] = json!(labels);
    }
    (patch != json!({})).then(|| Action::write(Op::merge(node.key(), patch)))
}

/// Says of a pod that it is not ready: its node cannot do so any more.
fn unready(pod: &Pod, now: Timestamp) -> Action {
    let mut conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for ready in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        ready.status = "False".into();
        ready.last_transition_time = Some(time::seconds(now));
    }
    let op = Op::merge_status(pod.key(), pods::conditions_patch(pod, &conditions));
    Action::write(op).with_event(NewEvent::warning(pod, "NodeNotReady", "Node is not ready"))
}

/// The old labels that do not follow the new ones.
fn old_labels(node: &Node) -> BTreeMap<&'static str, &str> {
    let Some(labels) = &node.metadata.labels else { return BTreeMap::new() };
    let follow = OLD_LABELS.iter().filter_map(|(new, old)| {
        let value = labels.get(*new)?;
        (labels.get(*old) != Some(value)).then_some((*old, value.as_str()))
    });
    follow.collect()
}
