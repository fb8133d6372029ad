//! The worker of one pod: runs what [`step`] decides, and tells it what came of it.
//!
//! Everything slow runs in tasks of its own; the worker only ever waits for the next thing to happen.

mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use coracle_api::Revision;

use super::reporter::{self, Wanted};
use super::start::{Start, Started};
use super::step::{Action, step};
use super::stop::Stop;
use super::{Busy, Failure, Health, Observed, Record, Role, Sandbox, containers, ephemeral, find, full_name};
use crate::context::{Context, Tone};
use crate::labels::SANDBOX;
use crate::probe::Purpose;
use crate::probe::task::{Asker, Opinion};
use crate::runtime::{Container, ContainerEvent};

/// How many messages wait for a worker. Its own tasks wait for room; nobody else is held up.
const INBOX: usize = 64;

/// What a worker is told from outside.
#[derive(Clone, Debug)]
pub enum Message {
    /// The pod has changed.
    Pod(Arc<Pod>),
    /// The API has forgotten the pod.
    Gone,
    /// Something happened to one of its containers.
    Event(ContainerEvent),
    /// Events may have been missed: look at everything.
    Look,
}

/// What a task of the worker came to.
enum Done {
    Sandbox(Result<Started, Failure>),
    Started { name: String, outcome: Result<String, Failure> },
    Stopped { name: String, turn: u64 },
    Removed { name: String, id: String },
    Refreshed,
}

/// A task that is under way.
struct Task {
    cancel: CancellationToken,
    ended: CancellationToken,
    turn: u64,
}

/// One pod's worker.
pub struct Worker {
    ctx: Arc<Context>,
    pod: Arc<Pod>,
    accepted: Timestamp,
    ephemeral: Vec<k8s_openapi::api::core::v1::Container>,
    sandbox: Option<Sandbox>,
    address: Option<Ipv4Addr>,
    containers: BTreeMap<String, Vec<Record>>,
    busy: BTreeMap<String, Busy>,
    tasks: BTreeMap<String, Task>,
    failures: BTreeMap<String, Failure>,
    health: BTreeMap<String, Health>,
    probes: BTreeMap<(String, Purpose), AbortOnDropHandle<()>>,
    /// Containers whose back-off was told.
    told: BTreeSet<String>,
    removing: BTreeSet<String>,
    refreshing: bool,
    gone: bool,
    turns: u64,
    wanted: Option<watch::Sender<Wanted>>,
    done: mpsc::Sender<Done>,
    opinions: mpsc::Sender<Opinion>,
}

/// Starts a worker for a pod with the containers that it has already. Its end is the pod's end on this node.
pub fn start(
    ctx: Arc<Context>,
    pod: Arc<Pod>,
    found: Vec<Container>,
    inbox: mpsc::Receiver<Message>,
) -> impl Future<Output = ()> {
    let (done, done_inbox) = mpsc::channel(INBOX);
    let (opinions, opinion_inbox) = mpsc::channel(INBOX);
    let (wanted, wanted_inbox) = watch::channel(Wanted::default());
    let known = pod.status.as_ref().map(|status| serde_json::to_value(status).unwrap_or_default());
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // What the agent met first, the binding: all that it reports of the pod comes of it.
    let cause = pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).map(Revision);
    tokio::spawn(reporter::report(
        ctx.clone(),
        Context::key(&pod),
        uid,
        cause,
        known.unwrap_or_default(),
        wanted_inbox,
    ));
    let since = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let accepted = since.unwrap_or_else(|| ctx.clock.now());
    let mut worker = Worker {
        accepted,
        ephemeral: pod.spec.as_ref().map(ephemeral).unwrap_or_default(),
        sandbox: None,
        address: None,
        containers: BTreeMap::new(),
        busy: BTreeMap::new(),
        tasks: BTreeMap::new(),
        failures: BTreeMap::new(),
        health: BTreeMap::new(),
        probes: BTreeMap::new(),
        told: BTreeSet::new(),
        removing: BTreeSet::new(),
        refreshing: false,
        gone: false,
        turns: 0,
        wanted: Some(wanted),
        done,
        opinions,
        ctx,
        pod,
    };
    async move {
        for container in found {
            worker.take(container).await;
        }
        worker.run(inbox, done_inbox, opinion_inbox).await;
    }
}

impl Worker {
    async fn run(
        &mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut done: mpsc::Receiver<Done>,
        mut opinions: mpsc::Receiver<Opinion>,
    ) {
        let mut refresh = tokio::time::interval(self.ctx.config.timing.refresh);
        refresh.reset();
        loop {
            let wake = self.step();
            if self.is_over() {
                return self.clean_up().await;
            }
            let wait = wake.map(|wake| wake.duration_since(self.ctx.clock.now()));
            let wait =
                wait.map_or(Duration::MAX / 4, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO));
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.hear(message).await,
                    // The node stops; the containers do not.
                    None => return,
                },
                Some(done) = done.recv() => self.finish(done).await,
                Some(opinion) = opinions.recv() => self.weigh(&opinion),
                () = tokio::time::sleep(wait) => {}
                _ = refresh.tick() => self.refresh(),
            }
            while let Ok(message) = inbox.try_recv() {
                self.hear(message).await;
            }
            while let Ok(one) = done.try_recv() {
                self.finish(one).await;
            }
        }
    }

    fn observed(&self) -> Observed<'_> {
        Observed {
            pod: &self.pod,
            ephemeral: &self.ephemeral,
            sandbox: self.sandbox.as_ref(),
            containers: &self.containers,
            busy: &self.busy,
            failures: &self.failures,
            health: &self.health,
            address: self.address,
            host: self.ctx.host(),
            accepted: self.accepted,
            now: self.ctx.clock.now(),
        }
    }

    /// Decides, says, and sets to work.
    fn step(&mut self) -> Option<Timestamp> {
        self.keep_probes();
        let decided = step(&self.observed());
        let finish = decided.actions.contains(&Action::Finish);
        if let Some(wanted) = &self.wanted {
            wanted.send_if_modified(|wanted| {
                let now = Wanted { status: Some(decided.status.clone()), finish: finish || wanted.finish };
                std::mem::replace(wanted, now.clone()) != now
            });
        }
        for action in decided.actions {
            self.act(action);
        }
        decided.wake
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(pod = full_name(&self.pod), ?action, "acting");
        match action {
            Action::StartSandbox { attempt } => {
                let (start, _) = self.begin(SANDBOX, Busy::Starting);
                let done = self.done.clone();
                tokio::spawn(async move {
                    let _ = done.send(Done::Sandbox(start.sandbox(attempt).await)).await;
                });
            }
            Action::RemoveSandbox { id } => self.remove(SANDBOX.into(), id),
            Action::Remove { name, id } => self.remove(name, id),
            Action::Start { name, attempt, backoff } => self.start_container(name, attempt, backoff),
            Action::Cancel { name } => {
                if let Some(task) = self.tasks.get(&name) {
                    task.cancel.cancel();
                }
            }
            Action::Stop { name, id, message, grace } => self.stop(name, id, message, grace),
            Action::TellBackOff { name, id } => {
                if self.told.insert(id) {
                    let message = format!(
                        "Back-off restarting failed container {name} in pod {}",
                        full_name(&self.pod)
                    );
                    self.ctx.tell(&self.pod, Some(&name), Tone::Warning, "BackOff", message);
                }
            }
            Action::Finish => {}
        }
    }

    /// Notes that something is being done, and gives what the doing needs.
    fn begin(&mut self, name: &str, busy: Busy) -> (Start, u64) {
        self.turns += 1;
        let task =
            Task { cancel: CancellationToken::new(), ended: CancellationToken::new(), turn: self.turns };
        let start = Start {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            accepted: self.accepted,
            target: None,
            cancel: task.cancel.clone(),
        };
        self.busy.insert(name.to_owned(), busy);
        if let Some(old) = self.tasks.insert(name.to_owned(), task) {
            old.cancel.cancel();
        }
        (start, self.turns)
    }

    fn end(&mut self, name: &str) {
        self.busy.remove(name);
        self.tasks.remove(name);
    }

    fn start_container(&mut self, name: String, attempt: u32, backoff: u64) {
        let (Some(sandbox), Some(address)) = (&self.sandbox, self.address) else { return };
        let sandbox = Started { id: sandbox.id.clone(), address };
        let (mut start, _) = self.begin(&name, Busy::Starting);
        start.target = self.target_of(&name);
        let done = self.done.clone();
        tokio::spawn(async move {
            let outcome = start.container(&name, attempt, backoff, &sandbox).await;
            let _ = done.send(Done::Started { name, outcome }).await;
        });
    }

    /// The container whose processes an ephemeral one is to see.
    fn target_of(&self, name: &str) -> Option<String> {
        let beside = self.pod.spec.as_ref()?.ephemeral_containers.as_deref()?;
        let target = beside.iter().find(|one| one.name == name)?.target_container_name.as_deref()?;
        self.containers
            .get(target)?
            .last()
            .filter(|record| record.state.is_running())
            .map(|record| record.id.clone())
    }

    fn stop(&mut self, name: String, id: String, message: String, grace: u64) {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let record = self.containers.get(&name).and_then(|all| all.last());
        let signal = record.map(|record| record.stop_signal.clone()).unwrap_or_else(|| "SIGTERM".into());
        let Some((container, _)) = find(&spec, &name) else { return };
        let again = matches!(self.busy.get(&name), Some(Busy::Stopping { .. }));
        if !again {
            self.ctx.tell(&self.pod, Some(&name), Tone::Normal, "Killing", message);
        }
        let patience = SignedDuration::from_secs(i64::try_from(grace.max(2)).unwrap_or(i64::MAX / 2));
        let deadline = self.ctx.clock.now().checked_add(patience).unwrap_or(Timestamp::MAX);
        let (_, turn) = self.begin(&name, Busy::Stopping { deadline });
        let Some(task) = self.tasks.get(&name) else { return };
        let lifecycle = container.lifecycle.as_ref();
        let own_signal =
            lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()).filter(|own| !own.is_empty());
        let stop = Stop {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            container: container.clone(),
            id,
            signal: own_signal.unwrap_or(signal),
            address: self.address.unwrap_or(self.ctx.host()),
            grace: Duration::from_secs(grace),
            ended: task.ended.clone(),
            cancel: task.cancel.clone(),
        };
        let done = self.done.clone();
        tokio::spawn(async move {
            stop.run().await;
            let _ = done.send(Done::Stopped { name, turn }).await;
        });
    }

    fn remove(&mut self, name: String, id: String) {
        if !self.removing.insert(id.clone()) {
            return;
        }
        let (ctx, done) = (self.ctx.clone(), self.done.clone());
        tokio::spawn(async move {
            if let Err(error) = ctx.runtime().remove(&id).await {
                tracing::warn!(container = id, %error, "cannot remove");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let _ = done.send(Done::Removed { name, id }).await;
        });
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Pod(pod) => {
                let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
                let relabelled = meta(&pod) != meta(&self.pod);
                self.ephemeral = pod.spec.as_ref().map(ephemeral).unwrap_or_default();
                self.pod = pod;
                if relabelled {
                    self.refresh();
                }
            }
            Message::Gone => {
                self.gone = true;
                // Nobody is left to tell.
                self.wanted = None;
                if self.pod.metadata.deletion_timestamp.is_none() {
                    let mut pod = Pod::clone(&self.pod);
                    pod.metadata.deletion_timestamp = Some(Time(self.ctx.clock.now()));
                    pod.metadata.deletion_grace_period_seconds = Some(0);
                    self.pod = Arc::new(pod);
                }
            }
            // What is being started is looked at once that is over.
            Message::Event(event) if !self.knows(&event.id) && self.is_starting() => {}
            Message::Event(event) => self.look(&event.id, event.removed).await,
            Message::Look => {
                let mut ids: Vec<String> =
                    self.containers.values().flatten().map(|record| record.id.clone()).collect();
                ids.extend(self.sandbox.as_ref().map(|sandbox| sandbox.id.clone()));
                for id in ids {
                    self.look(&id, false).await;
                }
            }
        }
    }

    async fn finish(&mut self, done: Done) {
        match done {
            Done::Sandbox(outcome) => {
                self.end(SANDBOX);
                match outcome {
                    Ok(started) => {
                        self.failures.remove(SANDBOX);
                        self.address = Some(started.address);
                        self.look(&started.id, false).await;
                    }
                    Err(failure) => drop(self.failures.insert(SANDBOX.into(), failure)),
                }
            }
            Done::Started { name, outcome } => {
                self.end(&name);
                match outcome {
                    Ok(id) => {
                        self.failures.remove(&name);
                        self.look(&id, false).await;
                    }
                    Err(failure) => drop(self.failures.insert(name, failure)),
                }
            }
            Done::Stopped { name, turn } => {
                if self.tasks.get(&name).is_some_and(|task| task.turn == turn) {
                    self.end(&name);
                    let id =
                        self.containers.get(&name).and_then(|all| all.last()).map(|record| record.id.clone());
                    if let Some(id) = id {
                        self.look(&id, false).await;
                    }
                }
            }
            Done::Removed { name, id } => {
                self.removing.remove(&id);
                self.look(&id, false).await;
                tracing::trace!(container = name, "removed");
            }
            Done::Refreshed => self.refreshing = false,
        }
    }

    fn weigh(&mut self, opinion: &Opinion) {
        // A late word about a container that is over counts no more.
        let Some(health) = self.health.get_mut(&opinion.id) else { return };
        match opinion.purpose {
            Purpose::Readiness => health.ready = Some(opinion.good),
            Purpose::Startup if opinion.good => health.started = true,
            Purpose::Startup => health.given_up = Some("startup"),
            Purpose::Liveness if !opinion.good => health.given_up = Some("liveness"),
            Purpose::Liveness => {}
        }
        self.probes
            .retain(|(id, purpose), _| *id != opinion.id || *purpose != Purpose::Startup || !opinion.good);
    }

    /// Sees to it that every running container is probed as its spec says.
    fn keep_probes(&mut self) {
        let ending = self.pod.metadata.deletion_timestamp.is_some();
        if ending {
            // What is to end need not live; whether it can still serve is asked to the last.
            self.probes.retain(|(_, purpose), _| *purpose == Purpose::Readiness);
        }
        let spec = self.pod.spec.clone().unwrap_or_default();
        let Some(address) = self.address else { return };
        for (container, role) in containers(&spec).filter(|(_, role)| *role != Role::Init) {
            let _ = role;
            let Some(record) = self.containers.get(&container.name).and_then(|all| all.last()) else {
                continue;
            };
            let crate::runtime::State::Running { started } = record.state else { continue };
            let health = self.health.get(&record.id).cloned().unwrap_or_default();
            let up = container.startup_probe.is_none() || health.started;
            for purpose in [Purpose::Startup, Purpose::Readiness, Purpose::Liveness] {
                let due = match purpose {
                    Purpose::Startup => !up && !ending,
                    Purpose::Readiness => up,
                    Purpose::Liveness => up && !ending,
                };
                let key = (record.id.clone(), purpose);
                let given_up = health.given_up.is_some() && purpose != Purpose::Readiness;
                if !due || given_up || purpose.of(container).is_none() || self.probes.contains_key(&key) {
                    continue;
                }
                let asker = Asker {
                    ctx: self.ctx.clone(),
                    pod: self.pod.clone(),
                    container: container.clone(),
                    id: record.id.clone(),
                    since: started,
                    address,
                    purpose,
                    opinions: self.opinions.clone(),
                };
                self.probes.insert(key, AbortOnDropHandle::new(tokio::spawn(asker.run())));
            }
        }
    }

    /// Brings mounted ConfigMaps, Secrets and the like up to date.
    fn refresh(&mut self) {
        let spec = self.pod.spec.as_ref();
        let mut volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
        let changing = volumes.any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.downward_api.is_some()
                || volume.projected.is_some()
        });
        let up = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.running);
        if !changing || !up || self.refreshing || self.pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        self.refreshing = true;
        let start = Start {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            accepted: self.accepted,
            target: None,
            cancel: CancellationToken::new(),
        };
        let (address, done) = (self.address, self.done.clone());
        tokio::spawn(async move {
            if let Err(failure) = start.mount_volumes(address).await {
                tracing::debug!(message = failure.message, "cannot refresh volumes");
            }
            let _ = done.send(Done::Refreshed).await;
        });
    }

    /// Whether the API has forgotten the pod and nothing of it runs.
    fn is_over(&self) -> bool {
        self.gone
            && self.busy.is_empty()
            && self.removing.is_empty()
            && self.sandbox.is_none()
            && !self.observed().any_running()
    }

    async fn clean_up(&mut self) {
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        for record in self.containers.values().flatten() {
            if let Err(error) = self.ctx.runtime().remove(&record.id).await {
                tracing::warn!(container = record.id, %error, "cannot remove");
            }
        }
        self.release_address();
        self.ctx.images.forget(&uid);
        let places = self.ctx.places.clone();
        let removed = tokio::task::spawn_blocking(move || places.remove(&uid)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(pod = full_name(&self.pod), %error, "cannot remove the pod's files");
        }
    }
}
