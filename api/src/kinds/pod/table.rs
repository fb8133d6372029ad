//! How a pod shows in `kubectl get pods`: what its containers' states come down to in one word.
//!
//! Source: `printPod` in `pkg/printers/internalversion/printers.go`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::podspec::resources::is_sidecar;
use crate::read::{int, is_true, list, text};
use crate::table::Cell::{Computed, TextOrNone};
use crate::table::time::since;
use crate::table::{Column, Table};

/// The table of pods.
pub static TABLE: Table = Table {
    columns: Cow::Borrowed(&[
        Column::name(),
        Column::text(
            "Ready",
            "How many of its containers are ready.",
            Computed(|pod, _| {
                let summary = summary(pod);
                format!("{}/{}", summary.ready, summary.containers).into()
            }),
        ),
        Column::text(
            "Status",
            "What its containers' states come down to.",
            Computed(|pod, _| summary(pod).status.into()),
        ),
        Column::text(
            "Restarts",
            "How often its containers restarted, and when last.",
            Computed(|pod, now| {
                let Summary { restarts, last_restart, .. } = summary(pod);
                match last_restart.filter(|_| restarts != 0) {
                    Some(last) => format!("{restarts} ({} ago)", since(Some(last), now)).into(),
                    None => restarts.to_string().into(),
                }
            }),
        ),
        Column::age(),
        Column::text("IP", "The first address of the pod.", TextOrNone("/status/podIPs/0/ip")).wide(),
        Column::text("Node", "Where the pod runs.", TextOrNone("/spec/nodeName")).wide(),
        Column::text("Nominated Node", "Where others make room.", TextOrNone("/status/nominatedNodeName"))
            .wide(),
        Column::text("Readiness Gates", "How many of its gates are open.", Computed(|pod, _| gates(pod)))
            .wide(),
    ]),
    conditions: |pod| match text(pod, "/status/phase") {
        "Succeeded" => completed("Succeeded", "The pod has completed successfully."),
        "Failed" => completed("Failed", "The pod failed."),
        _ => Value::Null,
    },
};

fn completed(reason: &str, message: &str) -> Value {
    json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}])
}

/// What a pod's containers come down to.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// How many containers are ready, sidecars included.
    pub ready: usize,
    /// How many there are, sidecars included.
    pub containers: usize,
    /// `Running`, `Init:0/2`, `CrashLoopBackOff`, `Terminating` and so on.
    pub status: String,
    /// How often containers restarted; those of init containers count only while they run.
    pub restarts: i64,
    /// When a container that was restarted last ended.
    pub last_restart: Option<&'a Value>,
}

/// What the containers of a pod come down to.
pub fn summary(pod: &Value) -> Summary<'_> {
    let mut summary = Summary {
        ready: 0,
        containers: list(pod, "/spec/containers").len()
            + list(pod, "/spec/initContainers").iter().filter(|c| is_sidecar(c)).count(),
        status: Some(text(pod, "/status/reason"))
            .filter(|r| !r.is_empty())
            .unwrap_or(text(pod, "/status/phase"))
            .into(),
        restarts: 0,
        last_restart: None,
    };
    let gated = |c: &Value| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated";
    if list(pod, "/status/conditions").iter().any(gated) {
        summary.status = "SchedulingGated".into();
    }
    let statuses = list(pod, "/status/initContainerStatuses");
    let sidecars = sidecars(pod);
    let unfinished = summary.add_init_containers(pod, statuses, &sidecars);
    if unfinished.is_none() || has_condition(pod, "Initialized") {
        summary.restarts = 0;
        summary.last_restart = None;
        let seen = unfinished.map_or(statuses, |index| &statuses[..=index]);
        for status in seen.iter().filter(|status| sidecars.contains(text(status, "/name"))) {
            summary.count_restarts(status);
        }
        summary.add_containers(pod);
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.status = "Unknown".into();
        } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            summary.status = "Terminating".into();
        }
    }
    summary
}

impl<'a> Summary<'a> {
    /// Looks at init containers up to the first that has not finished, and returns its index.
    fn add_init_containers(
        &mut self,
        pod: &'a Value,
        statuses: &'a [Value],
        sidecars: &HashSet<&str>,
    ) -> Option<usize> {
        for (index, status) in statuses.iter().enumerate() {
            self.count_restarts(status);
            let waiting = text(status, "/state/waiting/reason");
            if let Some(terminated) = status.pointer("/state/terminated") {
                if int(terminated, "/exitCode") == 0 {
                    continue;
                }
                self.status = format!("Init:{}", ended(terminated));
            } else if is_true(status, "/started") && sidecars.contains(text(status, "/name")) {
                self.ready += usize::from(is_true(status, "/ready"));
                continue;
            } else if !matches!(waiting, "" | "PodInitializing") {
                self.status = format!("Init:{waiting}");
            } else {
                self.status = format!("Init:{index}/{}", list(pod, "/spec/initContainers").len());
            }
            return Some(index);
        }
        None
    }

    /// Looks at the containers from the last to the first. One that is waiting or has ended sets the status, and an
    /// earlier one overrides it.
    fn add_containers(&mut self, pod: &'a Value) {
        let (mut running, mut failed) = (false, false);
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                (self.status, failed) = (waiting.into(), false);
            } else if let Some(terminated) = status.pointer("/state/terminated") {
                // A container that succeeded does not hide that another one failed.
                let worked = int(terminated, "/exitCode") == 0;
                if !(worked && failed) {
                    (self.status, failed) = (ended(terminated), !worked);
                }
            } else if is_true(status, "/ready") && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && running {
            self.status = if has_condition(pod, "Ready") { "Running".into() } else { "NotReady".into() };
        }
    }

    fn count_restarts(&mut self, status: &'a Value) {
        self.restarts += int(status, "/restartCount");
        let ended = status.pointer("/lastState/terminated/finishedAt").filter(|time| time.is_string());
        // Times in RFC 3339 and UTC sort as text.
        if ended.is_some() && ended.and_then(Value::as_str) > self.last_restart.and_then(Value::as_str) {
            self.last_restart = ended;
        }
    }
}

/// Why a container ended: its reason, else the signal, else the exit code.
fn ended(terminated: &Value) -> String {
    match (text(terminated, "/reason"), int(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

/// The names of the sidecars of a pod.
fn sidecars(pod: &Value) -> HashSet<&str> {
    list(pod, "/spec/initContainers").iter().filter(|c| is_sidecar(c)).map(|c| text(c, "/name")).collect()
}

fn has_condition(pod: &Value, name: &str) -> bool {
    let conditions = list(pod, "/status/conditions").iter();
    conditions.filter(|c| text(c, "/type") == name).any(|c| text(c, "/status") == "True")
}

fn gates(pod: &Value) -> Value {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let mut status: HashMap<&str, &str> = HashMap::new();
    for condition in list(pod, "/status/conditions") {
        status.entry(text(condition, "/type")).or_insert(text(condition, "/status"));
    }
    let open = |gate: &&Value| status.get(text(gate, "/conditionType")) == Some(&"True");
    format!("{}/{}", gates.iter().filter(open).count(), gates.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: usize, init: Value, status: Value) -> Value {
        json!({"spec": {"containers": vec![json!({}); containers], "initContainers": init}, "status": status})
    }

    #[test]
    fn states_of_containers_come_down_to_a_word() {
        let running = json!({"state": {"running": {}}, "ready": true});
        let completed = json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let error = json!({"state": {"terminated": {"exitCode": 2, "reason": "Error"}}});
        let crash = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 7});
        let initializing = json!({"name": "i", "state": {"running": {}}, "restartCount": 5});
        let sidecar = json!([{"name": "i", "restartPolicy": "Always"}]);
        let started =
            json!({"name": "i", "state": {"running": {}}, "started": true, "ready": true, "restartCount": 2});
        let cases = [
            ("pending", pod(1, json!([]), json!({"phase": "Pending"})), "0/1 Pending 0"),
            ("evicted", pod(1, json!([]), json!({"phase": "Failed", "reason": "Evicted"})), "0/1 Evicted 0"),
            (
                "running",
                pod(1, json!([]), json!({"phase": "Running", "containerStatuses": [running]})),
                "1/1 Running 0",
            ),
            (
                "the first that waits decides, and one that ended does not hide it",
                pod(
                    3,
                    json!([]),
                    json!({"phase": "Running", "containerStatuses": [running, completed, crash]}),
                ),
                "1/3 NotReady 7",
            ),
            (
                "one that failed shows beside one that did its work",
                pod(2, json!([]), json!({"phase": "Running", "containerStatuses": [completed, error]})),
                "0/2 Error 0",
            ),
            (
                "an exit code where nobody gave a reason",
                pod(1, json!([]), json!({"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]})),
                "0/1 ExitCode:0 0",
            ),
            (
                "init containers' restarts count while they run",
                pod(
                    1,
                    json!([{"name": "i"}]),
                    json!({"initContainerStatuses": [initializing], "containerStatuses": [running]}),
                ),
                "0/1 Init:0/1 5",
            ),
            (
                "sidecars count as containers, and so do their restarts",
                pod(
                    1,
                    sidecar,
                    json!({"phase": "Running", "initContainerStatuses": [started], "containerStatuses": [running]}),
                ),
                "2/2 Running 2",
            ),
        ];
        for (name, pod, expected) in cases {
            let Summary { ready, containers, status, restarts, .. } = summary(&pod);
            assert_eq!(format!("{ready}/{containers} {status} {restarts}"), expected, "case: {name}");
        }
    }

    #[test]
    fn a_deleted_pod_terminates_unless_it_has_ended() {
        let cases = [
            (json!({"phase": "Running"}), "Terminating"),
            (json!({"phase": "Succeeded"}), "Succeeded"),
            (json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
        ];
        for (status, expected) in cases {
            let pod = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": status});
            assert_eq!(summary(&pod).status, expected, "case: {status}");
        }
    }
}
