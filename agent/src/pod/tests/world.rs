//! A pod and all that is known of it, to be stepped through.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::pod::admission::Refusal;
use crate::pod::step::{Action, Step, step};
use crate::pod::{Busy, Failure, Health, Observed, Record, Sandbox};
use crate::runtime::{Enforced, Limits, State};
use crate::spec::requests::{Requests, Room};

const NOW: i64 = 1_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

/// A pod and all that is known of it.
pub(super) struct World {
    pub(super) pod: Pod,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) containers: BTreeMap<String, Vec<Record>>,
    pub(super) busy: BTreeMap<String, Busy>,
    pub(super) failures: BTreeMap<String, Failure>,
    pub(super) health: BTreeMap<String, Health>,
    pub(super) enforced: Enforced,
    pub(super) refused: BTreeMap<String, Failure>,
    pub(super) room: Room,
    pub(super) refusal: Option<Refusal>,
    pub(super) evicted: Option<&'static str>,
    pub(super) now: Timestamp,
}

impl World {
    pub(super) fn new(spec: Value) -> World {
        let meta = json!({"name": "x", "namespace": "ns", "uid": "u"});
        World {
            pod: serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap(),
            sandbox: Some(Sandbox {
                id: "s".into(),
                attempt: 0,
                created: at(-100),
                since: at(-100),
                running: true,
                connected: true,
            }),
            containers: BTreeMap::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
            health: BTreeMap::new(),
            enforced: Enforced::default(),
            refused: BTreeMap::new(),
            room: Room {
                all: Requests { cpu_milli: 2000, memory: 1 << 30, storage: 0 },
                others: Requests::default(),
            },
            refusal: None,
            evicted: None,
            now: at(0),
        }
    }

    pub(super) fn with(mut self, name: &str, state: State) -> World {
        let all = self.containers.entry(name.into()).or_default();
        let attempt = u32::try_from(all.len()).unwrap();
        all.push(Record {
            id: format!("{name}-{attempt}"),
            attempt,
            backoff: 0,
            created: at(-50),
            begun: at(-50),
            image: "i:1".into(),
            image_id: "sha256:1".into(),
            state,
            message: String::new(),
            limits: unlimited(),
            stop_signal: "SIGTERM".into(),
            gone: false,
            unseen: false,
            interrupted: false,
            replaced: false,
        });
        self
    }

    pub(super) fn without_sandbox(mut self) -> World {
        self.sandbox = None;
        self
    }

    pub(super) fn deleted(mut self) -> World {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(30));
        self.pod.metadata.deletion_timestamp = Some(time);
        self.pod.metadata.deletion_grace_period_seconds = Some(30);
        self
    }

    pub(super) fn step(&self) -> Step {
        step(&self.observed())
    }

    pub(super) fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            ephemeral: &[],
            sandbox: self.sandbox.as_ref(),
            containers: &self.containers,
            busy: &self.busy,
            failures: &self.failures,
            health: &self.health,
            enforced: self.enforced,
            refused: &self.refused,
            room: self.room,
            refusal: self.refusal.as_ref(),
            evicted: self.evicted,
            address: Some(Ipv4Addr::new(10, 88, 0, 2)),
            host: Ipv4Addr::new(10, 88, 0, 1),
            accepted: at(-100),
            now: self.now,
        }
    }
}

/// What a container may use that asks for nothing.
pub(super) fn unlimited() -> Limits {
    Limits { cpu_shares: 2, ..Limits::default() }
}

pub(super) fn running() -> State {
    State::Running { started: at(-50) }
}

pub(super) fn ended(code: i64) -> State {
    State::Exited { code, oom: false, started: Some(at(-50)), finished: at(-1), error: String::new() }
}

/// What is done, in short: `start c.1`, `stop c`, `remove c-0`, `sandbox`, `remove sandbox`, `finish`.
pub(super) fn short(step: &Step) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::StartSandbox { .. } => "sandbox".to_owned(),
        Action::RemoveSandbox { .. } => "remove sandbox".into(),
        Action::Start { name, attempt, .. } => format!("start {name}.{attempt}"),
        Action::Cancel { name } => format!("cancel {name}"),
        Action::Stop { name, replaced: true, .. } => format!("replace {name}"),
        Action::Stop { name, .. } => format!("stop {name}"),
        Action::Remove { id, .. } => format!("remove {id}"),
        Action::Resize { name, limits, .. } => format!("resize {name} to {}m", limits.cpu_milli),
        Action::Emit { container: Some(name), .. } => format!("event {name}"),
        Action::Emit { reason, .. } => format!("event {reason}"),
        Action::Finish => "finish".into(),
    };
    step.actions.iter().map(word).collect()
}

pub(super) fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

pub(super) fn with_init() -> Value {
    json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "c"}],
    })
}
