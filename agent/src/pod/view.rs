//! What each container of a pod is shown as.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::{Busy, Observed, Record, backoff};
use crate::runtime::State;
use crate::spec::{Role, containers};

/// A container as the pod's status shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    /// The container's part of the spec.
    pub container: &'a Container,
    /// What it is in its pod.
    pub role: Role,
    /// What it is doing.
    pub shown: Shown<'a>,
    /// How its last attempt ended.
    pub last: Option<&'a Record>,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it has come up.
    pub started: bool,
    /// The newest attempt: restart count, ids and image are its.
    pub record: Option<&'a Record>,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown<'a> {
    /// Not running yet, or waiting for its restart.
    Waiting {
        /// One word.
        reason: String,
        /// A text; may be empty.
        message: String,
    },
    /// Running.
    Running {
        /// Since.
        since: Timestamp,
    },
    /// Over.
    Terminated(&'a Record),
}

impl View<'_> {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.shown, Shown::Running { .. })
    }

    /// The code with which it ended, if it is over.
    pub fn exit_code(&self) -> Option<i64> {
        match self.shown {
            Shown::Terminated(record) => exit_code(record),
            _ => None,
        }
    }

    /// Whether it ever ran, or tried to.
    pub fn was_tried(&self) -> bool {
        !matches!(self.shown, Shown::Waiting { .. }) || self.last.is_some()
    }
}

/// The code with which a container ended, if it is over.
pub fn exit_code(record: &Record) -> Option<i64> {
    match record.state {
        State::Exited { code, .. } => Some(code),
        _ => None,
    }
}

/// Every container of the pod. `ending`: nothing will be started any more.
pub fn views<'a>(observed: &Observed<'a>, ending: bool) -> Vec<View<'a>> {
    let has_init = observed.spec().init_containers.as_ref().is_some_and(|init| !init.is_empty());
    let waiting = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let ephemeral = observed.ephemeral.iter().map(|container| (container, Role::Ephemeral));
    containers(observed.spec())
        .chain(ephemeral)
        .map(|(container, role)| view(observed, container, role, waiting, ending))
        .collect()
}

fn view<'a>(
    observed: &Observed<'a>,
    container: &'a Container,
    role: Role,
    waiting: &str,
    ending: bool,
) -> View<'a> {
    let history = observed.containers.get(&container.name).map(Vec::as_slice).unwrap_or_default();
    let (newest, previous) = match history {
        [] => (None, None),
        [one] => (Some(one), None),
        [.., previous, newest] => (Some(newest), Some(previous)),
    };
    let failed =
        observed.failures.get(&container.name).filter(|failure| !failure.reason.is_empty() && !ending);
    let wait =
        |reason: &str, message: &str| Shown::Waiting { reason: reason.into(), message: message.into() };
    let not_yet = || match failed {
        Some(failure) => wait(&failure.reason, &failure.message),
        None => wait(waiting, ""),
    };
    let (shown, last) = match newest {
        None => (not_yet(), None),
        Some(record) => match &record.state {
            State::Running { started } => (Shown::Running { since: *started }, previous),
            State::Created => (not_yet(), previous),
            State::Exited { code, .. } if !ending && observed.comes_again(container, role, record, *code) => {
                match (failed, crash_loop(observed, container, record)) {
                    (Some(failure), _) => (wait(&failure.reason, &failure.message), Some(record)),
                    (None, Some(message)) => (wait("CrashLoopBackOff", &message), Some(record)),
                    // Where the policy says that nothing restarts, the API lets no container that is shown as over run again.
                    (None, None) if record.replaced => (wait(waiting, ""), Some(record)),
                    (None, None) => (Shown::Terminated(record), previous),
                }
            }
            State::Exited { .. } => (Shown::Terminated(record), previous),
        },
    };
    let running = matches!(shown, Shown::Running { .. });
    let health = newest.and_then(|record| observed.health.get(&record.id));
    let started =
        running && (container.startup_probe.is_none() || health.is_some_and(|health| health.started));
    let ready = match role {
        Role::Init => matches!(shown, Shown::Terminated(record) if exit_code(record) == Some(0)),
        Role::Ephemeral => false,
        Role::Main | Role::Sidecar => {
            let answers = health.is_some_and(|health| health.ready == Some(true));
            let reported = container.startup_probe.is_none() || reported_started(observed, newest);
            // Without its sandbox nobody reaches it.
            let reachable = observed.sandbox.is_some_and(|sandbox| sandbox.is_ready());
            reachable && started && reported && (container.readiness_probe.is_none() || answers)
        }
    };
    View { container, role, shown, last, ready, started, record: newest }
}

/// Whether the status in the API says that a container has started: people see it started before they see it ready.
fn reported_started(observed: &Observed<'_>, record: Option<&Record>) -> bool {
    let Some(id) = record.map(Record::container_id) else { return false };
    let reported = observed.pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    reported
        .into_iter()
        .any(|reported| reported.container_id.as_ref() == Some(&id) && reported.started == Some(true))
}

/// The text of a container that waits for its restart; `None` if it waits no longer.
fn crash_loop(observed: &Observed<'_>, container: &Container, record: &Record) -> Option<String> {
    let (due, wait) = backoff::due(record, container)?;
    let starting = observed.busy.get(&container.name) == Some(&Busy::Starting);
    if starting || due <= observed.now {
        return None;
    }
    let wait = backoff::go_seconds(wait);
    Some(format!(
        "back-off {wait} restarting failed container={} pod={}",
        container.name,
        observed.full_name()
    ))
}
