//! The pod's conditions, in upstream's order: PodReadyToStartContainers, Initialized, Ready, ContainersReady,
//! PodScheduled; after them those of others, as they were.
//!
//! Source: `pkg/kubelet/status/generate.go`.

use k8s_openapi::api::core::v1::PodCondition;
use serde_json::{Value, json};

use super::Observed;
use super::resize::{self, Progress};
use super::view::View;
use crate::spec::{self, Role};
use crate::times::rfc3339;

/// A condition of the pod; without a reason where all is as it should be.
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Condition {
        Condition { kind, holds, reason, message: message.into() }
    }
}

/// That a resize has no room on the node.
pub const RESIZE_PENDING: &str = "PodResizePending";
/// That a resize is under way, or that the engine refuses it.
pub const RESIZING: &str = "PodResizeInProgress";

/// All conditions of the pod.
pub fn conditions(observed: &Observed<'_>, views: &[View<'_>], phase: &str) -> Vec<Value> {
    let ready_to_start = observed.sandbox.is_some_and(|sandbox| sandbox.is_ready());
    let containers_ready = containers_ready(views, phase);
    let ready = ready(observed, &containers_ready);
    let ours = [
        Condition::new("PodReadyToStartContainers", ready_to_start, "", ""),
        initialized(views, phase),
        ready,
        containers_ready,
    ];
    let old =
        observed.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let resize = resizing(observed, phase);
    // Whoever has given the pod its node, the scheduler or the pod's maker.
    let scheduled = Condition::new("PodScheduled", true, "", "");
    let is_ours = |kind: &str| {
        [RESIZE_PENDING, RESIZING, scheduled.kind].contains(&kind) || ours.iter().any(|one| one.kind == kind)
    };
    let theirs = old.iter().filter(|condition| !is_ours(&condition.type_));
    let theirs: Vec<Value> =
        theirs.map(|condition| serde_json::to_value(condition).unwrap_or_default()).collect();
    ours.iter()
        .chain(&resize)
        .chain([&scheduled])
        .map(|condition| to_json(observed, condition, old))
        .chain(theirs)
        .collect()
}

/// A condition keeps the time of its last change.
fn to_json(observed: &Observed<'_>, condition: &Condition, old: &[PodCondition]) -> Value {
    let status = if condition.holds { "True" } else { "False" };
    let same = old.iter().find(|one| one.type_ == condition.kind && one.status == status);
    let since = same.and_then(|one| one.last_transition_time.as_ref()).map(|time| time.0);
    let mut written = json!({
        "type": condition.kind,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": rfc3339(since.unwrap_or(observed.now)),
    });
    if !condition.reason.is_empty() {
        written["reason"] = condition.reason.into();
    }
    if !condition.message.is_empty() {
        written["message"] = condition.message.clone().into();
    }
    if let Some(generation) = observed.pod.metadata.generation {
        written["observedGeneration"] = generation.into();
    }
    written
}

/// The condition of a resize; `None` for a pod that has what it asks for.
fn resizing(observed: &Observed<'_>, phase: &str) -> Option<Condition> {
    if spec::is_terminal(phase) || observed.deleted() {
        return None;
    }
    match resize::progress(observed) {
        Progress::Done => None,
        Progress::Pending { reason, message } => Some(Condition::new(RESIZE_PENDING, true, reason, message)),
        Progress::Going => Some(Condition::new(RESIZING, true, "", "")),
        Progress::Failed(message) => Some(Condition::new(RESIZING, true, "Error", message)),
    }
}

fn names(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(views: &[View<'_>], phase: &str) -> Condition {
    if phase == "Succeeded" {
        return Condition::new("Initialized", true, "PodCompleted", "");
    }
    let incomplete = |view: &&View<'_>| match view.role {
        Role::Init => !view.ready,
        Role::Sidecar => !view.started,
        Role::Main | Role::Ephemeral => false,
    };
    let incomplete: Vec<&str> =
        views.iter().filter(incomplete).map(|view| view.container.name.as_str()).collect();
    let begun = views.iter().any(|view| view.role == Role::Main && view.was_tried());
    if incomplete.is_empty() || begun {
        return Condition::new("Initialized", true, "", "");
    }
    let message = format!("containers with incomplete status: {}", names(&incomplete));
    Condition::new("Initialized", false, "ContainersNotInitialized", message)
}

fn containers_ready(views: &[View<'_>], phase: &str) -> Condition {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return Condition::new(KIND, false, "PodCompleted", ""),
        "Failed" => return Condition::new(KIND, false, "PodFailed", ""),
        _ => {}
    }
    let unready = views.iter().filter(|view| matches!(view.role, Role::Sidecar | Role::Main) && !view.ready);
    let unready: Vec<&str> = unready.map(|view| view.container.name.as_str()).collect();
    if unready.is_empty() {
        return Condition::new(KIND, true, "", "");
    }
    Condition::new(
        KIND,
        false,
        "ContainersNotReady",
        format!("containers with unready status: {}", names(&unready)),
    )
}

fn ready(observed: &Observed<'_>, containers: &Condition) -> Condition {
    if !containers.holds {
        return Condition::new("Ready", false, containers.reason, containers.message.clone());
    }
    let old =
        observed.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut unmet = Vec::new();
    for gate in observed.spec().readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match old.iter().find(|condition| condition.type_ == *kind) {
            None => {
                unmet.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist."))
            }
            Some(condition) if condition.status != "True" => unmet.push(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if unmet.is_empty() {
        return Condition::new("Ready", true, "", "");
    }
    Condition::new("Ready", false, "ReadinessGatesNotReady", unmet.join(", "))
}
