//! One pod on this node.
//!
//! ```text
//!  pod, containers, probes, time --step (pure)--> actions, status
//!                                                    |        '--> patched into the API
//!  worker <--events, results-- runtime <-------------'
//! ```

mod action;
pub mod admission;
pub mod backoff;
mod conditions;
mod hooks;
mod memory;
pub mod phase;
mod reporter;
pub mod resize;
pub mod start;
mod status;
mod status_patch;
pub mod step;
mod stop;
mod termination_message;
mod view;
pub mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use admission::Refusal;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::runtime::{Enforced, Limits, State};
use crate::spec::requests::Room;
use crate::spec::{Role, full_name, restarts};
use crate::times::seconds_later;

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
    /// Its image, as the pod's spec named it when the container was made; empty if that is not known.
    pub image: String,
    /// The id of its image.
    pub image_id: String,
    /// What it is doing.
    pub state: State,
    /// Its termination message, once it has ended.
    pub message: String,
    /// What resources it may use, as the engine shows it.
    pub limits: Limits,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// Whether the engine does not have it any more, or has started it anew since: this is what is remembered of it.
    pub gone: bool,
    /// Whether its end was not seen, so that its exit code is not known.
    pub unseen: bool,
    /// Whether a signal ended it that the agent did not send. Whoever sent it may start it again, as `docker restart` does.
    pub interrupted: bool,
    /// Whether the agent ended it because its definition has changed: another follows, whatever its restart policy.
    pub replaced: bool,
}

impl Record {
    /// Its id as the API writes it.
    pub fn container_id(&self) -> String {
        container_id(&self.id)
    }

    /// Whether the pod's spec names another image than this was made of.
    ///
    /// Source: `HashContainer` in `pkg/kubelet/container/helpers.go`, which looks at name and image only.
    pub fn has_changed(&self, container: &Container) -> bool {
        !self.image.is_empty() && container.image.as_ref().is_some_and(|image| *image != self.image)
    }

    /// For one that somebody else's signal has ended: until when the agent waits whether it is started again.
    pub fn settled(&self) -> Option<Timestamp> {
        match self.state {
            State::Exited { finished, .. } if self.interrupted => Some(seconds_later(finished, SETTLED)),
            _ => None,
        }
    }
}

/// A container's id as the API writes it.
pub fn container_id(id: &str) -> String {
    format!("docker://{id}")
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
    /// Whether it has the pod's address: somebody else may have taken it out of the cluster's network.
    pub connected: bool,
}

impl Sandbox {
    /// Whether the pod's containers have in it what they need.
    pub fn is_ready(&self) -> bool {
        self.running && self.connected
    }
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
        /// When it is killed.
        deadline: Timestamp,
    },
}

/// Why a container (or the sandbox) could not be started, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The reason in the status, such as `ErrImagePull`; empty where only an event says it.
    pub reason: String,
    /// The message in the status.
    pub message: String,
    /// When it may be tried again.
    pub until: Timestamp,
}

/// What a container's probes have found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The result of the readiness probe; `None` before the first.
    pub ready: Option<bool>,
    /// Whether the startup probe has succeeded.
    pub started: bool,
    /// The probe that has failed for good, `liveness` or `startup`: the container is to be restarted.
    pub failed_probe: Option<&'static str>,
}

/// All that [`step::step`] may look at.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// Its ephemeral containers, as [`crate::spec::ephemeral`] gives them.
    pub ephemeral: &'a [Container],
    /// Its newest sandbox.
    pub sandbox: Option<&'a Sandbox>,
    /// Its containers by name, oldest attempt first.
    pub containers: &'a BTreeMap<String, Vec<Record>>,
    /// What is being done, by container name.
    pub busy: &'a BTreeMap<String, Busy>,
    /// What could not be done, by container name.
    pub failures: &'a BTreeMap<String, Failure>,
    /// Which limits the engine enforces.
    pub enforced: Enforced,
    /// What the engine has refused to grant, by container name.
    pub refused: &'a BTreeMap<String, Failure>,
    /// What the node has for requests.
    pub room: Room,
    /// Why the node refuses the pod, if it does.
    pub refusal: Option<&'a Refusal>,
    /// Why the pod is evicted, if it is.
    pub evicted: Option<&'a str>,
    /// What probes have found, by container id.
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

    /// Whether another attempt follows a container that ended with this code.
    pub fn comes_again(&self, container: &Container, role: Role, record: &Record, code: i64) -> bool {
        record.replaced || restarts(self.spec(), container, role, code)
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
