//! The pod's status, as the API shows it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::view::{Shown, View};
use super::{Observed, Record, conditions, memory, phase, resize};
use crate::runtime::State;
use crate::spec::{self, Role};
use crate::times::rfc3339;

/// The whole status that this node answers for.
pub fn status(observed: &Observed<'_>, views: &[View<'_>], decided: &'static str) -> Value {
    let phase = phase::shown(observed, decided);
    let old = observed.pod.status.as_ref();
    let mut status = Map::new();
    if let Some(generation) = observed.pod.metadata.generation {
        status.insert("observedGeneration".into(), generation.into());
    }
    status.insert("phase".into(), phase.into());
    status.insert("conditions".into(), conditions::conditions(observed, views, phase).into());
    let was_over = old.and_then(|old| old.phase.as_deref()).is_some_and(spec::is_terminal);
    if let Some(why) = observed.evicted.filter(|_| phase == "Failed" && !was_over) {
        status.insert("message".into(), why.into());
        status.insert("reason".into(), phase::EVICTED.into());
    } else if phase == "Failed" && phase::deadline_passed(observed) {
        status.insert("message".into(), phase::DEADLINE.1.into());
        status.insert("reason".into(), phase::DEADLINE.0.into());
    } else if let Some(old) = old {
        let kept = [("message", &old.message), ("reason", &old.reason)];
        for (key, value) in kept {
            if let Some(value) = value {
                status.insert(key.into(), value.clone().into());
            }
        }
    }
    let host = observed.host.to_string();
    status.insert("hostIP".into(), host.clone().into());
    status.insert("hostIPs".into(), json!([{"ip": host}]));
    let known = old.and_then(|old| old.pod_ip.clone());
    if let Some(ip) = observed.address.map(|address| address.to_string()).or(known) {
        status.insert("podIP".into(), ip.clone().into());
        status.insert("podIPs".into(), json!([{"ip": ip}]));
    }
    status.insert("startTime".into(), rfc3339(observed.accepted).into());
    let unlocated = if spec::is_terminal(phase) { unlocated(views) } else { Vec::new() };
    let container_status = |view: &View<'_>| {
        let mut status = container_status(observed, view);
        if unlocated.contains(&view.container.name.as_str()) {
            status["state"] = json!({"terminated": {
                "exitCode": memory::KILLED,
                "reason": "ContainerStatusUnknown",
                "message": memory::UNSEEN,
                "startedAt": null,
                "finishedAt": null,
            }});
        }
        status
    };
    let init = views.iter().filter(|view| is_init(view));
    let init: Vec<Value> = init.map(container_status).collect();
    if !init.is_empty() {
        status.insert("initContainerStatuses".into(), init.into());
    }
    let mut mains: Vec<&View<'_>> = views.iter().filter(|view| view.role == Role::Main).collect();
    mains.sort_by_key(|view| &view.container.name);
    status.insert("containerStatuses".into(), mains.into_iter().map(container_status).collect());
    let ephemeral = views.iter().filter(|view| view.role == Role::Ephemeral);
    let ephemeral: Vec<Value> = ephemeral.map(container_status).collect();
    if !ephemeral.is_empty() {
        status.insert("ephemeralContainerStatuses".into(), ephemeral.into());
    }
    status.into()
}

fn is_init(view: &View<'_>) -> bool {
    matches!(view.role, Role::Init | Role::Sidecar)
}

/// The containers of a pod that is over which never started though their turn had come. Nothing of them waits any more, and
/// nobody knows whether they would have succeeded, so they are shown as failed.
///
/// Source: `TerminatePod`, `hasPodInitialized` and `initializedContainers` in `pkg/kubelet/status/status_manager.go`.
fn unlocated<'a>(views: &[View<'a>]) -> Vec<&'a str> {
    let init: Vec<&View<'a>> = views.iter().filter(|view| is_init(view)).collect();
    let mains = || views.iter().filter(|view| view.role == Role::Main);
    let is_initialized = match init.last() {
        None => true,
        Some(last) => last.exit_code() == Some(0) || last.started || mains().any(View::was_tried),
    };
    // Init containers have their turn one after the other; that of the first has always come.
    let begun = init.iter().rposition(|view| view.was_tried()).unwrap_or(0);
    let had_turn = init.iter().take(begun + 1).copied().chain(mains().filter(|_| is_initialized));
    let never_started = had_turn.filter(|view| matches!(view.shown, Shown::Waiting { .. }));
    never_started.map(|view| view.container.name.as_str()).collect()
}

fn container_status(observed: &Observed<'_>, view: &View<'_>) -> Value {
    // What runs, or ran last, was made of this; the spec may name another by now.
    let known = view.record.map(|record| &record.image).filter(|image| !image.is_empty());
    let image = known.or(view.container.image.as_ref()).map_or("", String::as_str);
    let mut status = json!({
        "name": view.container.name,
        "state": state(&view.shown),
        "lastState": view.last.map_or(json!({}), |last| json!({"terminated": terminated(last)})),
        "ready": view.ready,
        "restartCount": view.record.map_or(0, |record| record.attempt),
        "image": image,
        "imageID": view.record.map_or("", |record| &record.image_id),
    });
    if view.role != Role::Ephemeral {
        status["started"] = (view.started || (view.role == Role::Init && view.is_running())).into();
    }
    if let Some(record) = view.record {
        status["containerID"] = record.container_id().into();
    }
    let (allocated, resources) = resize::shown(observed, view.container, view.record);
    for (key, shown) in [
        ("allocatedResources", serde_json::to_value(allocated)),
        ("resources", serde_json::to_value(resources)),
    ] {
        if let Ok(shown) = shown
            && !shown.is_null()
        {
            status[key] = shown;
        }
    }
    status
}

fn state(shown: &Shown<'_>) -> Value {
    match shown {
        Shown::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        Shown::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Shown::Running { since } => json!({"running": {"startedAt": rfc3339(*since)}}),
        Shown::Terminated(record) => json!({"terminated": terminated(record)}),
    }
}

/// The end of a container. 137 is what a kill leaves: by the kernel for memory, or by the agent.
fn terminated(record: &Record) -> Value {
    let State::Exited { code, oom, started, finished, error } = &record.state else { return json!({}) };
    let (reason, message) = match (started, code) {
        _ if record.unseen => ("ContainerStatusUnknown", &record.message),
        (None, _) => ("StartError", error),
        (Some(_), 0) => ("Completed", &record.message),
        (Some(_), _) if *oom && *code == 137 => ("OOMKilled", &record.message),
        (Some(_), _) => ("Error", &record.message),
    };
    let mut ended = json!({
        "exitCode": code,
        "reason": reason,
        "startedAt": rfc3339(started.unwrap_or(Timestamp::UNIX_EPOCH)),
        "finishedAt": rfc3339(*finished),
        "containerID": record.container_id(),
    });
    if !message.is_empty() {
        ended["message"] = message.clone().into();
    }
    ended
}
