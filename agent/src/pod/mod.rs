//! One pod on this node.
//!
//! ```text
//!  pod, containers, probes, time --step (pure)--> actions, status
//!                                                    |        '--> patched into the API
//!  worker <--events, results-- runtime <-------------'
//! ```

mod action;
mod admission;
pub mod backoff;
mod conditions;
mod hooks;
pub mod hostname;
mod memory;
pub mod phase;
mod reporter;
pub mod requests;
pub mod resize;
pub mod start;
mod status;
pub mod step;
mod stop;
mod view;
mod words;
pub mod worker;

#[cfg(test)]
mod step_tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::resources::Room;
use crate::runtime::{Limits, State};
use crate::times::seconds_later;

pub use status::rfc3339;

/// A container of the pod, as the runtime shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The runtime's id.
    pub id: String,
    /// Counts from 0.
    pub attempt: u32,
    /// Seconds that a restart waits after its end.
    pub backoff: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to run; when it was made, if it never ran.
    pub begun: Timestamp,
    /// The id of its image.
    pub image_id: String,
    /// What it is doing.
    pub state: State,
    /// Its last words, once it is over.
    pub message: String,
    /// What it may use, as the engine shows it.
    pub limits: Limits,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// Whether the engine does not have it any more, or has started it anew since: this is what is remembered of it.
    pub gone: bool,
    /// Whether nobody saw how it ended.
    pub unseen: bool,
    /// Whether it was ended by a signal that is not the agent's: whoever sent it may start it again.
    pub interrupted: bool,
}

impl Record {
    /// When it is known that nobody starts it again, after somebody else's signal has ended it.
    pub fn settled(&self) -> Option<Timestamp> {
        match self.state {
            State::Exited { finished, .. } if self.interrupted => Some(seconds_later(finished, SETTLED)),
            _ => None,
        }
    }
}

/// How many seconds a container that somebody else's signal has ended is waited for: `docker restart` starts it again.
const SETTLED: u64 = 3;

/// The pod's sandbox, as the runtime shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Counts from 0.
    pub attempt: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it runs; when it was made, if it does not. What began before has lost its network.
    pub since: Timestamp,
    /// Whether it runs.
    pub running: bool,
}

/// What is being done with a container (or the sandbox) right now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Busy {
    /// It is being made and started.
    Starting,
    /// What it may use is being changed.
    Resizing,
    /// It is being stopped, and killed at the deadline.
    Stopping {
        /// When patience ends.
        deadline: Timestamp,
    },
}

/// Why a container (or the sandbox) could not be started, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// A word, such as `ErrImagePull`; empty where only an event tells.
    pub reason: String,
    /// A text.
    pub message: String,
    /// Not before.
    pub until: Timestamp,
}

/// What a container's probes have said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The readiness probe's word; `None` before the first.
    pub ready: Option<bool>,
    /// Whether the startup probe has succeeded.
    pub started: bool,
    /// The probe that gave the container up, `liveness` or `startup`.
    pub given_up: Option<&'static str>,
}

/// All that [`step::step`] may look at.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// Its ephemeral containers, as [`ephemeral`] gives them.
    pub ephemeral: &'a [Container],
    /// Its newest sandbox.
    pub sandbox: Option<&'a Sandbox>,
    /// Its containers by name, oldest attempt first.
    pub containers: &'a BTreeMap<String, Vec<Record>>,
    /// What is being done, by container name.
    pub busy: &'a BTreeMap<String, Busy>,
    /// What could not be done, by container name.
    pub failures: &'a BTreeMap<String, Failure>,
    /// What the engine has granted containers while they ran, by id. One that cannot enforce it does not show it.
    pub granted: &'a BTreeMap<String, Limits>,
    /// What the engine has refused to grant, by container name.
    pub refused: &'a BTreeMap<String, Failure>,
    /// What the node has for requests.
    pub room: Room,
    /// Why the pod is evicted, if it is.
    pub evicted: Option<&'a str>,
    /// What probes said, by container id.
    pub health: &'a BTreeMap<String, Health>,
    /// The pod's address.
    pub address: Option<Ipv4Addr>,
    /// The node's address.
    pub host: Ipv4Addr,
    /// When the node accepted the pod.
    pub accepted: Timestamp,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Observed<'a> {
    /// The pod's spec; an empty one where there is none, which no server stores.
    pub fn spec(&self) -> &'a PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// Whether somebody asked for the pod to go.
    pub fn deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The newest container of a name.
    pub fn newest(&self, name: &str) -> Option<&'a Record> {
        self.containers.get(name)?.last()
    }

    /// The newest container of a name, if it was made in the present sandbox.
    pub fn current(&self, name: &str) -> Option<&'a Record> {
        let since = self.sandbox.map_or(Timestamp::MIN, |sandbox| sandbox.since);
        self.newest(name).filter(|record| record.begun >= since)
    }

    /// Whether any container of the pod runs.
    pub fn any_running(&self) -> bool {
        self.containers.values().filter_map(|all| all.last()).any(|record| record.state.is_running())
    }

    /// `x_ns(uid)`, as upstream names a pod in texts.
    pub fn full_name(&self) -> String {
        full_name(self.pod)
    }
}

/// `x_ns(uid)`, as upstream names a pod in texts.
pub fn full_name(pod: &Pod) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the others start.
    Init,
    /// Starts before the others and runs beside them.
    Sidecar,
    /// The pod is there for it.
    Main,
    /// Somebody put it beside the others to look at them; nothing depends on it.
    Ephemeral,
}

/// The ephemeral containers of a spec, in the form of the others.
pub fn ephemeral(spec: &PodSpec) -> Vec<Container> {
    let all = spec.ephemeral_containers.iter().flatten();
    let plain = all.filter_map(|one| {
        let mut value = serde_json::to_value(one).ok()?;
        value.as_object_mut()?.shift_remove("targetContainerName");
        serde_json::from_value(value).ok()
    });
    plain.collect()
}

/// A container of any role by its name.
pub fn find(spec: &PodSpec, name: &str) -> Option<(Container, Role)> {
    let found = containers(spec).find(|(container, _)| container.name == name);
    let found = found.map(|(container, role)| (container.clone(), role));
    let beside = || ephemeral(spec).into_iter().find(|one| one.name == name);
    found.or_else(|| beside().map(|container| (container, Role::Ephemeral)))
}

/// Every container of a spec with its role: init containers and sidecars first, in order.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = (&Container, Role)> {
    let init = spec.init_containers.iter().flatten();
    let init =
        init.map(|container| (container, if is_sidecar(container) { Role::Sidecar } else { Role::Init }));
    init.chain(spec.containers.iter().map(|container| (container, Role::Main)))
}

/// Whether a container that ended with this code is started again: by its own rules, its own policy, or its pod's.
///
/// Source: `ContainerShouldRestart` in `pkg/api/v1/pod/util.go`.
pub fn restarts(spec: &PodSpec, container: &Container, role: Role, code: i64) -> bool {
    let rules = container.restart_policy_rules.iter().flatten();
    let mut codes = rules.filter(|rule| rule.action == "Restart").filter_map(|rule| rule.exit_codes.as_ref());
    let listed = |values: &Option<Vec<i32>>| values.iter().flatten().any(|value| i64::from(*value) == code);
    let by_rule = codes.any(|rule| match rule.operator.as_str() {
        "In" => listed(&rule.values),
        "NotIn" => !listed(&rule.values),
        _ => false,
    });
    let own = container.restart_policy.as_deref().or(spec.restart_policy.as_deref()).unwrap_or("Always");
    match role {
        Role::Ephemeral => false,
        _ if by_rule => true,
        Role::Sidecar => true,
        Role::Init => code != 0 && own != "Never",
        Role::Main => own == "Always" || (own == "OnFailure" && code != 0),
    }
}
