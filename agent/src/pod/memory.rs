//! What has run: attempts of containers that the engine does not show any more, because somebody else removed them or started
//! them anew. The worker keeps what it saw of them; after a restart of the agent they are read from the pod's status. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::{Record, backoff};
use crate::runtime::State;
use crate::times::later;

/// The attempts of each container by name, oldest first.
pub type Attempts = BTreeMap<String, Vec<Record>>;

/// What a container is shown as that vanished while it ran: a kill's code, and upstream's text.
pub(super) const KILLED: i64 = 137;
pub(super) const UNSEEN: &str = "The container could not be located when the pod was terminated";

/// How a container ended, as an event of the engine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code of its first process.
    pub code: i64,
    /// When.
    pub at: Timestamp,
}

/// Notes that the engine does not have a container any more. One that ran until then has ended.
pub fn vanished(record: &mut Record, end: Option<End>, now: Timestamp) {
    record.gone = true;
    ended_unseen(record, end, now, true);
}

/// Notes how a run ended that cannot be inspected any more. `by_force`: its container was removed, too.
fn ended_unseen(record: &mut Record, end: Option<End>, now: Timestamp, by_force: bool) {
    let State::Running { started } = record.state else { return };
    let end = end.filter(|end| end.at >= started);
    let code = end.map_or(KILLED, |end| end.code);
    record.unseen = end.is_none() || (by_force && code == KILLED);
    if record.unseen {
        record.message = UNSEEN.into();
    }
    let finished = end.map_or(now, |end| end.at).max(started);
    record.state = State::Exited { code, oom: false, started: Some(started), finished, error: String::new() };
}

/// Whether a container has been started anew since it was last looked at.
pub fn was_restarted(known: &State, seen: &State) -> bool {
    match (known, seen) {
        (State::Running { started: a }, State::Running { started: b }) => a != b,
        (State::Running { started: a }, State::Exited { started: b, .. }) => b.is_some_and(|b| b != *a),
        (State::Exited { .. }, State::Running { .. }) => true,
        (State::Exited { finished: a, .. }, State::Exited { finished: b, .. }) => a != b,
        _ => false,
    }
}

/// Splits a record in two, because somebody started its container anew: the run before, which is remembered, and the run
/// that is there now. That counts as a restart, whoever did it.
pub fn split(known: &Record, seen: &mut Record, end: Option<End>) -> Record {
    let mut before = known.clone();
    before.gone = true;
    ended_unseen(&mut before, end, seen.begun, false);
    seen.attempt = known.attempt.saturating_add(1);
    seen.backoff = backoff::next_of_same(&before);
    before
}

/// Adds to the containers that were found what the pod's status remembers: attempts that are gone, and restarts that no
/// label counts.
pub fn recall(found: &mut Attempts, pod: &Pod, now: Timestamp) {
    let Some(status) = &pod.status else { return };
    let reported = status.container_statuses.iter().chain(&status.init_container_statuses);
    for reported in reported.chain(&status.ephemeral_container_statuses).flatten() {
        let attempts = found.entry(reported.name.clone()).or_default();
        for remembered in remembered(reported) {
            recall_one(attempts, remembered, now);
        }
        attempts.sort_by_key(|record| (record.attempt, record.begun));
    }
    found.retain(|_, attempts| !attempts.is_empty());
}

fn recall_one(attempts: &mut Vec<Record>, mut remembered: Record, now: Timestamp) {
    let present = attempts.iter_mut().find(|record| record.id == remembered.id && !record.gone);
    let Some(present) = present else {
        if attempts.iter().all(|record| record.attempt != remembered.attempt) {
            vanished(&mut remembered, None, now);
            attempts.push(remembered);
        }
        return;
    };
    present.replaced |= remembered.replaced && in_seconds(&remembered.state) == in_seconds(&present.state);
    if remembered.attempt < present.attempt {
        // The run before the last restart in place.
        remembered.gone = true;
        attempts.push(remembered);
    } else if in_seconds(&remembered.state) == in_seconds(&present.state) {
        present.attempt = remembered.attempt;
    } else if was_restarted(&remembered.state, &present.state) {
        remembered.backoff = present.backoff;
        let before = split(&remembered, present, None);
        attempts.push(before);
    } else {
        present.attempt = remembered.attempt;
    }
}

/// The times by which runs are distinguished; a status has whole seconds. `None` where the end is not known yet.
fn in_seconds(state: &State) -> (Option<i64>, Option<i64>) {
    match state {
        State::Created => (None, None),
        State::Running { started } => (Some(started.as_second()), None),
        State::Exited { started, finished, .. } => {
            (started.map(Timestamp::as_second), Some(finished.as_second()))
        }
    }
}

/// What a status says of one container: the latest attempt, and the one before.
fn remembered(reported: &ContainerStatus) -> Vec<Record> {
    let restarts = u32::try_from(reported.restart_count).unwrap_or(0);
    let id =
        |text: Option<&String>| text.and_then(|text| text.split_once("://")).map(|(_, id)| id.to_owned());
    let newest = id(reported.container_id.as_ref());
    let last = reported.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let mut records = Vec::new();
    // What waits after it has ended comes again. Where its restart policy does not say so, it was ended for one of a new image.
    let waits =
        reported.state.as_ref().is_none_or(|state| state.terminated.is_none() && state.running.is_none());
    let mut push = |id: Option<String>, attempt: u32, state: Option<(State, String, bool)>| {
        let (Some(id), Some((state, message, unseen))) = (id, state) else { return };
        let begun = match &state {
            State::Running { started } => Some(*started),
            State::Exited { started, finished, .. } => started.or(Some(*finished)),
            State::Created => None,
        };
        let created = begun.unwrap_or(Timestamp::MIN);
        records.push(Record {
            id,
            attempt,
            backoff: backoff::after(attempt),
            created,
            // The times of a status are cut to whole seconds: it began within that second.
            begun: later(created, SignedDuration::from_nanos(999_999_999)),
            image: reported.image.clone(),
            image_id: reported.image_id.clone(),
            state,
            message,
            limits: Default::default(),
            stop_signal: String::new(),
            gone: true,
            unseen,
            interrupted: false,
            replaced: waits,
        });
    };
    let last_id = last.and_then(|last| id(last.container_id.as_ref()));
    match &reported.state {
        Some(state) if state.terminated.is_some() => {
            push(last_id, restarts.wrapping_sub(1), last.filter(|_| restarts > 0).map(exited));
            push(newest, restarts, state.terminated.as_ref().map(exited));
        }
        Some(state) if state.running.is_some() => {
            push(last_id, restarts.wrapping_sub(1), last.filter(|_| restarts > 0).map(exited));
            let started = state.running.as_ref().and_then(|running| running.started_at.as_ref());
            push(
                newest,
                restarts,
                started.map(|at| (State::Running { started: at.0 }, String::new(), false)),
            );
        }
        // It waits for its restart: its latest attempt is the one that ended last.
        _ => push(last_id.or(newest), restarts, last.map(exited)),
    }
    records
}

fn exited(reported: &ContainerStateTerminated) -> (State, String, bool) {
    let reason = reported.reason.as_deref().unwrap_or_default();
    let message = reported.message.clone().unwrap_or_default();
    let time =
        |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.as_ref().map(|t| t.0);
    let started = time(&reported.started_at).filter(|at| *at > Timestamp::UNIX_EPOCH);
    let finished = time(&reported.finished_at).or(started).unwrap_or(Timestamp::UNIX_EPOCH);
    let failed = reason == "StartError";
    let state = State::Exited {
        code: i64::from(reported.exit_code),
        oom: reason == "OOMKilled",
        started: started.filter(|_| !failed),
        finished,
        error: if failed { message.clone() } else { String::new() },
    };
    (state, message, reason == "ContainerStatusUnknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn text(second: i64) -> String {
        at(second).to_string()
    }

    fn found(id: &str, attempt: u32, state: State) -> Record {
        let begun = match &state {
            State::Running { started } => *started,
            _ => at(0),
        };
        Record {
            id: id.into(),
            attempt,
            backoff: 0,
            created: at(0),
            begun,
            image: "i".into(),
            image_id: "i".into(),
            state,
            message: String::new(),
            limits: Default::default(),
            stop_signal: "SIGTERM".into(),
            gone: false,
            unseen: false,
            interrupted: false,
            replaced: false,
        }
    }

    fn ended(code: i64, started: i64, finished: i64) -> State {
        let (started, finished) = (Some(at(started)), at(finished));
        State::Exited { code, oom: false, started, finished, error: String::new() }
    }

    /// `attempt:code` of each attempt; `r` for one that runs, a dot after what is only remembered, `?` after what nobody saw,
    /// `+` after what another follows, whatever the restart policy says.
    fn short(attempts: &Attempts) -> String {
        let word = |record: &Record| {
            let state = match record.state {
                State::Exited { code, .. } => code.to_string(),
                State::Running { .. } => "r".into(),
                State::Created => "c".into(),
            };
            let gone = if record.gone { "." } else { "" };
            let (unseen, replaced) =
                (if record.unseen { "?" } else { "" }, if record.replaced { "+" } else { "" });
            format!("{}:{state}{gone}{unseen}{replaced}", record.attempt)
        };
        attempts.get("c").into_iter().flatten().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_status_tells_what_the_engine_has_forgotten() {
        let over = |id: &str, code: i32, from: i64, to: i64| {
            json!({"terminated": {"exitCode": code, "reason": "Error",
            "startedAt": text(from), "finishedAt": text(to), "containerID": format!("docker://{id}")}})
        };
        let runs = |from: i64| json!({"running": {"startedAt": text(from)}});
        let waits = || json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let running = |from: i64| State::Running { started: at(from) };
        let cases: Vec<(&str, (&str, u32, Value, Value), Vec<Record>, &str)> = vec![
            ("nothing is left of a finished one", ("a", 0, over("a", 0, 1, 5), json!({})), vec![], "0:0."),
            ("one that ran has vanished", ("a", 0, runs(1), json!({})), vec![], "0:137.?"),
            (
                "the one before was pruned",
                ("b", 1, runs(7), over("a", 3, 1, 5)),
                vec![found("b", 1, running(7))],
                "0:3. 1:r",
            ),
            ("pruned while it waited", ("a", 4, waits(), over("a", 3, 1, 5)), vec![], "4:3.+"),
            (
                "it still waits",
                ("a", 4, waits(), over("a", 3, 1, 5)),
                vec![found("a", 4, ended(3, 1, 5))],
                "4:3+",
            ),
            (
                "somebody started it again while it waited",
                ("a", 4, waits(), over("a", 3, 1, 5)),
                vec![found("a", 4, running(7))],
                "4:3.+ 5:r",
            ),
            (
                "the labels are ahead of the status",
                ("a", 0, over("a", 3, 1, 5), json!({})),
                vec![found("b", 1, running(7))],
                "0:3. 1:r",
            ),
            (
                "restarted in place before, which no label counts",
                ("a", 2, runs(7), over("a", 143, 1, 5)),
                vec![found("a", 0, running(7))],
                "1:143. 2:r",
            ),
            (
                "restarted in place while no agent looked",
                ("a", 0, runs(1), json!({})),
                vec![found("a", 0, running(7))],
                "0:137.? 1:r",
            ),
            (
                "ended, then started anew while no agent looked",
                ("a", 0, over("a", 3, 1, 5), json!({})),
                vec![found("a", 0, running(7))],
                "0:3. 1:r",
            ),
            (
                "ended while no agent looked",
                ("a", 0, runs(1), json!({})),
                vec![found("a", 0, ended(0, 1, 5))],
                "0:0",
            ),
            (
                "never begun",
                ("", 0, json!({"waiting": {"reason": "ContainerCreating"}}), json!({})),
                vec![],
                "",
            ),
        ];
        for (case, (id, restarts, state, last), present, expected) in cases {
            let mut reported = json!({"name": "c", "restartCount": restarts, "state": state, "lastState": last,
                "image": "i", "imageID": "i", "ready": false});
            if !id.is_empty() {
                reported["containerID"] = json!(format!("docker://{id}"));
            }
            let pod: Pod =
                serde_json::from_value(json!({"status": {"containerStatuses": [reported]}})).unwrap();
            let mut attempts = Attempts::new();
            if !present.is_empty() {
                attempts.insert("c".into(), present);
            }
            recall(&mut attempts, &pod, at(100));
            assert_eq!(short(&attempts), expected, "case: {case}");
        }
    }

    #[test]
    fn a_restart_in_place_is_a_restart() {
        let known = found("a", 3, State::Running { started: at(1) });
        let mut seen = found("a", 0, State::Running { started: at(9) });
        assert!(was_restarted(&known.state, &seen.state));
        let before = split(&known, &mut seen, Some(End { code: 143, at: at(8) }));
        assert_eq!((before.attempt, before.gone, before.unseen), (3, true, false));
        assert_eq!(before.state, ended(143, 1, 8));
        assert_eq!((seen.attempt, seen.backoff), (4, 10));
        // An end from before it began is not its end.
        let before = split(&known, &mut seen, Some(End { code: 1, at: at(0) }));
        assert_eq!((before.unseen, before.state), (true, ended(137, 1, 9)));
    }
}
