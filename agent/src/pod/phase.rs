//! The pod's phase.
//!
//! Source: `getPhase` in `pkg/kubelet/kubelet_pods.go`.

use super::Observed;
use super::view::{Shown, View, exit_code};
use crate::spec::{Role, is_terminal};
use crate::times::later;

/// The phase that the containers' states add up to; terminal also while a sidecar still has to be stopped.
pub fn decide(observed: &Observed<'_>, views: &[View<'_>]) -> &'static str {
    let phase = by_states(observed, views);
    let known = observed.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let unsettled = || {
        let settled = views.iter().filter_map(|view| view.record?.settled());
        settled.into_iter().any(|settled| settled > observed.now)
    };
    let ends = observed.deleted() || deadline_passed(observed) || observed.evicted.is_some();
    if is_terminal(phase) && !known.is_some_and(is_terminal) && !ends && unsettled() {
        // Whoever ended a container may be about to start it again.
        return if known == Some("Pending") { "Pending" } else { "Running" };
    }
    phase
}

fn by_states(observed: &Observed<'_>, views: &[View<'_>]) -> &'static str {
    let status = observed.pod.status.as_ref();
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    if deadline_passed(observed) || observed.evicted.is_some() {
        return "Failed";
    }
    let policy = observed.spec().restart_policy.as_deref().unwrap_or("Always");
    let (mut pending_init, mut failed_init) = (0, 0);
    for view in views {
        match view.role {
            Role::Main | Role::Ephemeral => {}
            Role::Sidecar => {
                let came_up = view.started || view.last.is_some() || view.exit_code().is_some();
                pending_init += usize::from(!came_up);
            }
            Role::Init => match (&view.shown, view.last) {
                (Shown::Terminated(record), _) => failed_init += usize::from(exit_code(record) != Some(0)),
                (Shown::Waiting { .. }, Some(last)) if exit_code(last) != Some(0) => failed_init += 1,
                _ => pending_init += 1,
            },
        }
    }
    let mains = || views.iter().filter(|view| view.role == Role::Main);
    let running = mains().filter(|view| view.is_running()).count();
    let waiting =
        mains().filter(|view| matches!(view.shown, Shown::Waiting { .. }) && view.last.is_none()).count();
    let stopped = mains().count() - running - waiting;
    let succeeded = mains().filter(|view| view.exit_code() == Some(0)).count();
    let over = observed.deleted() && !observed.any_running();
    if failed_init > 0 && policy == "Never" {
        return "Failed";
    }
    if pending_init > 0 && running == 0 && stopped == 0 {
        return "Pending";
    }
    if waiting > 0 {
        return "Pending";
    }
    if running > 0 || stopped == 0 {
        return if running > 0 { "Running" } else { "Pending" };
    }
    match policy {
        _ if over => {
            if stopped == succeeded {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        "Always" => "Running",
        _ if again(observed, views) => "Running",
        _ if stopped == succeeded => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

/// Whether a main container that is over will start again.
fn again(observed: &Observed<'_>, views: &[View<'_>]) -> bool {
    views.iter().filter(|view| view.role == Role::Main).any(|view| {
        let ended = match view.shown {
            Shown::Terminated(record) => Some(record),
            _ => view.last,
        };
        let ended = ended.and_then(|record| Some((record, exit_code(record)?)));
        ended.is_some_and(|(record, code)| observed.comes_again(view.container, view.role, record, code))
    })
}

/// The phase to show: a terminal one only once nothing of the pod runs any more.
pub fn shown(observed: &Observed<'_>, decided: &'static str) -> &'static str {
    let known = observed.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let left = observed.any_running() || observed.sandbox.is_some_and(|sandbox| sandbox.running);
    if is_terminal(decided) && left && !known.is_some_and(is_terminal) {
        if known == Some("Pending") { "Pending" } else { "Running" }
    } else {
        decided
    }
}

/// The reason of a pod that its node ends because it uses too much.
pub const EVICTED: &str = "Evicted";

/// Reason and message of a pod that has run for longer than its spec allows.
pub const DEADLINE: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

/// Whether the pod has run for longer than its spec allows, and is not known to be over.
pub fn deadline_passed(observed: &Observed<'_>) -> bool {
    let known = observed.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !known.is_some_and(is_terminal) && deadline(observed).is_some_and(|deadline| deadline <= observed.now)
}

/// When the pod has run for as long as its spec allows.
pub fn deadline(observed: &Observed<'_>) -> Option<jiff::Timestamp> {
    let seconds = observed.spec().active_deadline_seconds?;
    Some(later(observed.accepted, jiff::SignedDuration::from_secs(seconds)))
}
