//! What to do next for a pod, and which status it has. Pure and total: the same input gives the same answer.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

pub use super::action::Action;
use super::admission::Refusal;
use super::resize::{self, Progress};
use super::view::{View, views};
use super::{Busy, Observed, Record, backoff, conditions, phase, status};
use crate::event_type::EventType;
use crate::labels::SANDBOX;
use crate::runtime::{Limits, State};
use crate::spec::{self, Role, containers, restarts};
use crate::times::{later, rfc3339, seconds_later};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to do.
    pub actions: Vec<Action>,
    /// The pod's status.
    pub status: Value,
    /// Whether nothing will be started any more.
    pub ending: bool,
    /// When to look again, though nothing has happened.
    pub wake: Option<Timestamp>,
}

/// How many attempts of a container are kept: the present one, and the one before for its log.
pub const KEPT: usize = 2;
/// How long a resize that has no room waits for the next look.
///
/// Source: `initialRetryDelay` in `pkg/kubelet/allocation/allocation_manager.go`.
const RESIZE_RETRY: SignedDuration = SignedDuration::from_secs(30);
/// The shortest grace: upstream gives a container two seconds even where less is asked for.
const SHORTEST_GRACE: u64 = 2;

/// Decides what to do next.
pub fn step(observed: &Observed<'_>) -> Step {
    if let Some(refused) = refused(observed) {
        return refused;
    }
    let mut plan = Plan { observed, actions: Vec::new(), wake: phase::deadline(observed) };
    // What containers are shown as depends on whether the pod is over, and the other way round. So they are first shown as
    // if the pod went on.
    let going_on = views(observed, observed.deleted());
    let decided = phase::decide(observed, &going_on);
    let ending = observed.deleted() || spec::is_terminal(decided);
    let shown = if ending { views(observed, true) } else { going_on };
    if phase::deadline_passed(observed) {
        plan.emit(phase::DEADLINE.0, EventType::Normal, phase::DEADLINE.0, phase::DEADLINE.1.into());
    }
    if let Some(why) = observed.evicted {
        plan.emit(phase::EVICTED, EventType::Warning, phase::EVICTED, why.into());
    }
    if ending {
        plan.wind_down();
    } else {
        plan.run(&shown);
    }
    plan.sweep();
    let status = match over_before(observed) {
        Some(status) => status,
        None => status::status(observed, &shown, decided),
    };
    Step { actions: plan.actions, status, ending, wake: plan.wake.filter(|wake| *wake > observed.now) }
}

/// The step for a pod that this node refuses.
fn refused(observed: &Observed<'_>) -> Option<Step> {
    let known = observed.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let begun = observed.sandbox.is_some() || !observed.busy.is_empty() || !observed.containers.is_empty();
    if begun || observed.deleted() || known.is_some_and(spec::is_terminal) {
        return None;
    }
    let Refusal { reason, message } = observed.refusal?.clone();
    let status = json!({
        "phase": "Failed",
        "reason": reason,
        "message": format!("Pod was rejected: {message}"),
        "startTime": rfc3339(observed.accepted),
    });
    let emit = Action::Emit {
        container: None,
        once: reason.into(),
        event_type: EventType::Warning,
        reason,
        message,
    };
    Some(Step { actions: vec![emit], status, ending: true, wake: None })
}

/// The status of a pod that was over before, and of which nothing is left here: it stays as it is.
fn over_before(observed: &Observed<'_>) -> Option<Value> {
    let status = observed.pod.status.as_ref()?;
    let over = status.phase.as_deref().is_some_and(spec::is_terminal);
    let left = observed.sandbox.is_some() || !observed.containers.is_empty();
    (over && !left).then(|| serde_json::to_value(status).unwrap_or_default())
}

struct Plan<'a> {
    observed: &'a Observed<'a>,
    actions: Vec<Action>,
    wake: Option<Timestamp>,
}

impl Plan<'_> {
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |known| known.min(time)));
    }

    fn busy(&self, name: &str) -> Option<&Busy> {
        self.observed.busy.get(name)
    }

    /// Brings the pod up and keeps it up.
    fn run(&mut self, views: &[View<'_>]) {
        let observed = self.observed;
        match observed.sandbox {
            Some(sandbox) if sandbox.is_ready() && !self.any_cut_off(sandbox.since) => {}
            Some(sandbox) => return self.renew_sandbox(sandbox.id.clone()),
            None if observed.any_running() => return self.stop_all(),
            None => return self.start_sandbox(0),
        }
        self.stop_changed();
        self.stop_unhealthy();
        self.emit_resize();
        let begun = containers(observed.spec())
            .any(|(container, role)| role == Role::Main && observed.current(&container.name).is_some());
        for view in views.iter().filter(|view| view.role == Role::Ephemeral && view.record.is_none()) {
            self.start(&view.container.name, 0, 0);
        }
        for view in views.iter().filter(|view| view.role != Role::Ephemeral) {
            let done = match view.role {
                Role::Init if begun => true,
                _ => self.keep_up(view),
            };
            // The next one waits for this one, unless it is a main container: those do not wait for each other's
            // health, only for each other's start, which `keep_up` sees to.
            if !done && view.role != Role::Main && !begun {
                break;
            }
        }
    }

    /// Whether a container runs that began before the sandbox did: the network that it is in has gone.
    fn any_cut_off(&self, since: Timestamp) -> bool {
        self.running(|_| true).iter().any(|(_, record)| record.begun < since)
    }

    /// Stops every container: the sandbox that they share is not what it was.
    fn stop_all(&mut self) {
        for (name, record) in self.running(|_| true) {
            self.stop(&name, &record, format!("Stopping container {name}"), self.grace());
        }
    }

    /// Starts a container that should run and does not. Answers whether those after it may go on.
    fn keep_up(&mut self, view: &View<'_>) -> bool {
        let observed = self.observed;
        let name = &view.container.name;
        if let Some(settled) = observed.newest(name).and_then(Record::settled)
            && settled > observed.now
        {
            self.wake_at(settled);
            return false;
        }
        match observed.current(name) {
            Some(record) => match &record.state {
                State::Running { .. } => {
                    if view.role != Role::Init {
                        self.resize(view, record);
                    }
                    view.role != Role::Init && view.started
                }
                // Made by an agent that crashed before it could start it: made anew.
                State::Created => {
                    if self.busy(name).is_none() {
                        self.actions.push(Action::Remove { name: name.clone(), id: record.id.clone() });
                    }
                    false
                }
                State::Exited { code, .. }
                    if observed.comes_again(view.container, view.role, record, *code) =>
                {
                    self.restart(view.container, record);
                    false
                }
                State::Exited { .. } => true,
            },
            // A container that has ended for good does not run again only because the sandbox is new.
            None if view.role == Role::Main && self.is_done(view) => true,
            None => {
                let attempt = observed.newest(name).map_or(0, |record| record.attempt.saturating_add(1));
                self.start(name, attempt, 0);
                false
            }
        }
    }

    /// Whether a container is over and does not come again.
    fn is_done(&self, view: &View<'_>) -> bool {
        let newest = self.observed.newest(&view.container.name);
        let ended = newest.and_then(|record| Some((record, super::view::exit_code(record)?)));
        ended
            .is_some_and(|(record, code)| !self.observed.comes_again(view.container, view.role, record, code))
    }

    /// Changes what a container may use to what its spec says now: while it runs, or by a restart where its spec asks for one.
    fn resize(&mut self, view: &View<'_>, record: &Record) {
        let observed = self.observed;
        let (name, old) = (&view.container.name, &record.limits);
        let Some(new) = resize::wanted(observed, view.container, record) else { return };
        if matches!(resize::progress(observed), Progress::Pending { .. }) {
            return;
        }
        let changed = [
            ("cpu", !Limits { memory: 0, ..new }.hold_in(old)),
            ("memory", !Limits { memory: new.memory, ..Limits::default() }.hold_in(old)),
        ];
        let restarts = |resource: &str| {
            let mut policies = view.container.resize_policy.iter().flatten();
            policies.any(|one| one.resource_name == resource && one.restart_policy == "RestartContainer")
        };
        let mut changed = changed.into_iter().filter(|(_, changed)| *changed).peekable();
        let stops = |action: &Action| matches!(action, Action::Stop { name: one, .. } if one == name);
        if changed.peek().is_none() || self.busy(name).is_some() || self.actions.iter().any(stops) {
            return;
        }
        if let Some(failure) = observed.refused.get(name).filter(|failure| failure.until > observed.now) {
            return self.wake_at(failure.until);
        }
        if changed.any(|(resource, _)| restarts(resource)) {
            let message = format!("Container {name} resize requires restart");
            return self.stop(name, record, message, self.grace());
        }
        self.actions.push(Action::Resize { name: name.clone(), id: record.id.clone(), limits: new });
    }

    /// Emits an event for each stage of a resize, once for each generation of the spec.
    fn emit_resize(&mut self) {
        let observed = self.observed;
        let old = observed.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let begun = old.into_iter().find(|one| one.type_ == conditions::RESIZING);
        let mut emit = |event_type, reason: &'static str, what: &str, error: Option<&str>| {
            let wish = observed.pod.metadata.generation.unwrap_or_default();
            // What the others use changes while a resize waits for room: that is no other event.
            let told = error.filter(|_| reason == "ResizeError").unwrap_or_default();
            let once = format!("{reason}/{wish}/{told}");
            self.emit(&once, event_type, reason, resize::message(observed, what, error));
        };
        match resize::progress(observed) {
            Progress::Done if begun.is_some() => {
                emit(EventType::Normal, "ResizeCompleted", "completed", None)
            }
            Progress::Done => {}
            Progress::Going => emit(EventType::Normal, "ResizeStarted", "started", None),
            Progress::Failed(error) => emit(EventType::Warning, "ResizeError", "error", Some(&error)),
            Progress::Pending { reason, message } => {
                let event = if reason == "Deferred" { "ResizeDeferred" } else { "ResizeInfeasible" };
                emit(EventType::Warning, event, reason, Some(&message));
                // Room may come when another pod ends, which this pod's worker does not hear of.
                self.wake_at(later(observed.now, RESIZE_RETRY));
            }
        }
    }

    fn restart(&mut self, container: &Container, record: &Record) {
        let name = &container.name;
        let due = backoff::due(record, container).map_or(self.observed.now, |(due, _)| due);
        if due > self.observed.now {
            self.wake_at(due);
            self.actions.push(Action::Emit {
                container: Some(name.clone()),
                once: record.id.clone(),
                event_type: EventType::Warning,
                reason: "BackOff",
                message: format!(
                    "Back-off restarting failed container {name} in pod {}",
                    self.observed.full_name()
                ),
            });
            return;
        }
        self.start(name, record.attempt.saturating_add(1), backoff::next(record, container));
    }

    fn emit(&mut self, once: &str, event_type: EventType, reason: &'static str, message: String) {
        let once = once.to_owned();
        self.actions.push(Action::Emit { container: None, once, event_type, reason, message });
    }

    /// One container at a time: a postStart hook that waits holds up those after it.
    fn start(&mut self, name: &str, attempt: u32, backoff: u64) {
        if let Some(failure) =
            self.observed.failures.get(name).filter(|failure| failure.until > self.observed.now)
        {
            return self.wake_at(failure.until);
        }
        let starting = self.observed.busy.values().any(|busy| *busy == Busy::Starting)
            || self.actions.iter().any(|action| matches!(action, Action::Start { .. }));
        if !starting && self.busy(name).is_none() {
            self.actions.push(Action::Start { name: name.into(), attempt, backoff });
        }
    }

    fn start_sandbox(&mut self, attempt: u32) {
        if let Some(failure) =
            self.observed.failures.get(SANDBOX).filter(|failure| failure.until > self.observed.now)
        {
            return self.wake_at(failure.until);
        }
        if self.observed.busy.is_empty() {
            self.actions.push(Action::StartSandbox { attempt });
        }
    }

    /// The sandbox has ended or lost its address, and with it every container its network: all of it is made anew.
    fn renew_sandbox(&mut self, id: String) {
        let observed = self.observed;
        if observed.any_running() {
            self.stop_all();
        } else if self.busy(SANDBOX).is_none() {
            let message = "Pod sandbox changed, it will be killed and re-created.".into();
            self.emit(&id, EventType::Normal, "SandboxChanged", message);
            self.actions.push(Action::RemoveSandbox { id });
        }
    }

    /// Stops containers that run something else than the pod's spec says now; another of each follows. An init container goes on:
    /// once it has ended it is not needed again.
    ///
    /// Source: `containerChanged` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go`.
    fn stop_changed(&mut self) {
        let observed = self.observed;
        for (container, role) in containers(observed.spec()).filter(|(_, role)| *role != Role::Init) {
            let name = &container.name;
            let running = observed.newest(name).filter(|record| record.state.is_running());
            let Some(record) = running.filter(|record| record.has_changed(container)) else { continue };
            let message = match role {
                Role::Sidecar => format!("Init container {name} definition changed"),
                _ => format!("Container {name} definition changed, will be restarted"),
            };
            self.end(name, record, message, self.grace(), true);
        }
    }

    /// Stops containers whose liveness or startup probe has failed for good.
    fn stop_unhealthy(&mut self) {
        let spec = self.observed.spec();
        for (container, role) in containers(spec) {
            let running = self.observed.newest(&container.name).filter(|record| record.state.is_running());
            let Some(record) = running.filter(|record| !record.has_changed(container)) else { continue };
            let Some(probe) = self.observed.health.get(&record.id).and_then(|health| health.failed_probe)
            else {
                continue;
            };
            let definition =
                if probe == "startup" { &container.startup_probe } else { &container.liveness_probe };
            let own = definition.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
            let grace = own.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_else(|| self.grace());
            let name = &container.name;
            // 137 is the exit code of the kill: whether the container is started again is decided by that.
            let again = restarts(spec, container, role, 137);
            let alone = self.running(|other| other != name).is_empty();
            let message = match again {
                true => format!("Container {name} failed {probe} probe, will be restarted"),
                false if alone => format!("Stopping container {name}"),
                false => format!("Container {name} failed {probe} probe"),
            };
            self.stop(name, record, message, grace);
        }
    }

    /// Ends the pod: main containers first, then sidecars, last one first; then the sandbox.
    fn wind_down(&mut self) {
        let spec = self.observed.spec();
        for (name, busy) in self.observed.busy {
            if *busy == Busy::Starting {
                self.actions.push(Action::Cancel { name: name.clone() });
            }
        }
        let sidecars: Vec<&str> = containers(spec)
            .filter(|(_, role)| *role == Role::Sidecar)
            .map(|(container, _)| container.name.as_str())
            .collect();
        let mains = self.running(|name| !sidecars.contains(&name));
        let grace = self.grace();
        if !mains.is_empty() {
            for (name, record) in mains {
                self.stop(&name, &record, format!("Stopping container {name}"), grace);
            }
            return;
        }
        for name in sidecars.iter().rev() {
            if let Some((name, record)) = self.running(|other| other == *name).into_iter().next() {
                let left = self.left(grace);
                return self.stop(&name, &record, format!("Stopping container {name}"), left);
            }
        }
        if !self.observed.busy.is_empty() {
            return;
        }
        match self.observed.sandbox {
            Some(sandbox) => self.actions.push(Action::RemoveSandbox { id: sandbox.id.clone() }),
            None if self.observed.deleted() => self.actions.push(Action::Finish),
            None => {}
        }
    }

    fn running(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Record)> {
        let newest = self.observed.containers.iter().filter_map(|(name, all)| Some((name, all.last()?)));
        let running = newest.filter(|(name, record)| record.state.is_running() && wanted(name));
        running.map(|(name, record)| (name.clone(), record.clone())).collect()
    }

    /// How long the pod's containers may take to end.
    fn grace(&self) -> u64 {
        if self.observed.evicted.is_some() {
            return SHORTEST_GRACE;
        }
        let requested = self.observed.pod.metadata.deletion_grace_period_seconds;
        let own = self.observed.spec().termination_grace_period_seconds.unwrap_or(30);
        u64::try_from(requested.filter(|_| self.observed.deleted()).unwrap_or(own)).unwrap_or(0)
    }

    /// What is left of the grace once the main containers have ended.
    fn left(&self, grace: u64) -> u64 {
        let until = self.observed.pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let left = until.map(|until| until.duration_since(self.observed.now).as_secs());
        left.map_or(grace, |left| u64::try_from(left).unwrap_or(0).min(grace)).max(SHORTEST_GRACE)
    }

    /// Stops a container, unless that is under way and ends no later.
    fn stop(&mut self, name: &str, record: &Record, message: String, grace: u64) {
        self.end(name, record, message, grace, false);
    }

    /// The same. `replaced`: another follows, whatever the restart policy says.
    fn end(&mut self, name: &str, record: &Record, message: String, grace: u64, replaced: bool) {
        let deadline = seconds_later(self.observed.now, grace.max(SHORTEST_GRACE));
        match self.busy(name) {
            Some(Busy::Starting | Busy::Resizing) => return,
            Some(Busy::Stopping { deadline: known }) if *known <= seconds_later(deadline, 1) => return,
            _ => {}
        }
        self.actions.push(Action::Stop {
            name: name.into(),
            id: record.id.clone(),
            message,
            grace,
            replaced,
        });
    }

    /// Removes attempts that are not shown any more.
    fn sweep(&mut self) {
        for (name, all) in self.observed.containers {
            let old = all.len().saturating_sub(KEPT);
            for record in all[..old].iter().filter(|record| !record.gone) {
                self.actions.push(Action::Remove { name: name.clone(), id: record.id.clone() });
            }
        }
    }
}
