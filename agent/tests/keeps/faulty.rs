//! A runtime that writes down what it is asked to do, and does some of it late, wrongly, or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_agent::helper::Job;
use coracle_agent::labels::{Identity, Mark, Owner};
use coracle_agent::network::Subnet;
use coracle_agent::runtime::{
    Container, ContainerEvent, ContainerSpec, Error, ExecOutput, Image, Info, Limits, LogLine, LogOptions,
    Network, PodFiles, Removed, Runtime, Session, State as RunState, Streams, TerminalSize,
};
use coracle_agent::sim::SimRuntime;
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

/// What an agent asked the engine to do, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub at: Instant,
    pub what: What,
    /// `POD/CONTAINER.ATTEMPT`.
    pub of: String,
    pub id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Create,
    Start,
    Signal(String),
    Remove,
}

/// What goes wrong from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// How much longer each call takes.
    pub slow: Duration,
    /// How many calls fail.
    pub errors: u32,
    /// How many looks at a container panic.
    pub panics: u32,
    /// How many answers to probes panic.
    pub probe_panics: u32,
    /// Whether removals are refused.
    pub no_removals: bool,
}

#[derive(Clone)]
pub struct Faulty {
    pub engine: SimRuntime,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    faults: Faults,
    calls: Vec<Call>,
    /// What was asked for against the laws.
    broken: Vec<String>,
    cluster: Option<Fake>,
}

impl Faulty {
    pub fn new(engine: SimRuntime) -> Faulty {
        Faulty { engine, state: Arc::default() }
    }

    pub fn set(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// Holds every call to the laws from now on; the cluster says which pods there are.
    pub fn watch_laws(&self, cluster: &Fake) {
        self.state.lock().cluster = Some(cluster.clone());
    }

    /// What was done against the laws.
    pub fn broken(&self) -> Vec<String> {
        self.state.lock().broken.clone()
    }

    /// Everything asked for so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// The signals that containers of this name got: which, for which attempt, how many seconds after the first.
    pub fn signals(&self, name: &str) -> Vec<(String, String, u64)> {
        let calls = self.calls();
        let sent: Vec<&Call> = calls
            .iter()
            .filter(|call| matches!(call.what, What::Signal(_)) && call.of.contains(name))
            .collect();
        let first = sent.first().map(|call| call.at);
        let told = sent.into_iter().filter_map(|call| {
            let What::Signal(signal) = &call.what else { return None };
            Some((signal.clone(), call.of.clone(), (call.at - first?).as_secs()))
        });
        told.collect()
    }

    async fn note(&self, what: What, id: &str) {
        let found = self.engine.inspect(id).await.unwrap();
        let of = found.map(|found| name_of(&found.labels)).unwrap_or_default();
        self.push(what, of, id.to_owned());
    }

    fn push(&self, what: What, of: String, id: String) {
        self.state.lock().calls.push(Call { at: Instant::now(), what, of, id });
    }

    /// A container and all others of its name and pod.
    async fn family(&self, id: &str) -> Option<(Fake, Container, Identity, Vec<Container>)> {
        let cluster = self.state.lock().cluster.clone()?;
        let found = self.engine.inspect(id).await.unwrap()?;
        let who = Identity::read(&found.labels)?;
        let all = self.engine.of_pod(&Owner::node("test", "node-1"), &who.uid).await.unwrap();
        let same =
            |one: &Container| Identity::read(&one.labels).is_some_and(|of| of.container == who.container);
        let others = all.into_iter().filter(|one| one.id != id && same(one)).collect();
        Some((cluster, found, who, others))
    }

    fn breaks(&self, law: &str, id: &str, of: &str) {
        self.state.lock().broken.push(format!("{law}: {of} ({})", id.trim_start_matches('0')));
    }

    /// Nothing is started beside another of its name; what a pod that never restarts has shown is not run again.
    async fn check_start(&self, id: &str) {
        let Some((cluster, found, who, others)) = self.family(id).await else { return };
        let of = name_of(&found.labels);
        if others.iter().any(|one| one.state.is_running()) {
            self.breaks("two run", id, &of);
        }
        let Some(pod) = pod_of(&cluster, &who).await else { return };
        let shown = |list: &str| {
            let all = pod["status"][list].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|one| one["name"] == who.container.as_str())
        };
        let main = shown("containerStatuses").is_some_and(|one| one["state"]["waiting"].is_null());
        if main && pod["spec"]["restartPolicy"] == "Never" {
            self.breaks("run again though never", id, &of);
        }
        let shown = shown("initContainerStatuses").filter(|one| one["name"] == "init").unwrap_or_default();
        let ended = &shown["state"]["terminated"];
        let at: Option<Timestamp> = ended["finishedAt"].as_str().and_then(|text| text.parse().ok());
        // In a new sandbox everything is done from the start, as upstream does it.
        let since = self.sandbox_since(&who.uid).await;
        let same_sandbox = since.zip(at).is_some_and(|(since, at)| since.as_second() < at.as_second());
        if ended["exitCode"] == 0 && same_sandbox {
            self.breaks("initialised again", id, &of);
        }
    }

    /// Since when a pod's sandbox runs.
    async fn sandbox_since(&self, uid: &str) -> Option<Timestamp> {
        let all = self.engine.of_pod(&Owner::node("test", "node-1"), uid).await.unwrap();
        let sandboxes = all.iter().filter(|one| name_of(&one.labels).contains("/POD."));
        let since = sandboxes.filter_map(|one| match one.state {
            RunState::Running { started } => Some(started),
            _ => None,
        });
        since.max()
    }

    /// What runs is removed only with its pod, or where two of one run.
    async fn check_remove(&self, id: &str) {
        let Some((cluster, found, who, others)) = self.family(id).await else { return };
        let of = name_of(&found.labels);
        if who.container == "POD" || pod_of(&cluster, &who).await.is_none() {
            return;
        }
        let doubled = others.iter().any(|one| one.state.is_running());
        let attempt = |one: &Container| Identity::read(&one.labels).map_or(0, |of| of.attempt);
        let superseded = others.iter().any(|one| attempt(one) > who.attempt);
        match found.state {
            RunState::Running { .. } if !doubled => self.breaks("removed though it ran", id, &of),
            RunState::Exited { .. } if !superseded => self.breaks("forgotten", id, &of),
            _ => {}
        }
    }

    async fn trouble(&self) -> Result<(), Error> {
        let slow = self.state.lock().faults.slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        let mut state = self.state.lock();
        if state.faults.errors > 0 {
            state.faults.errors -= 1;
            return Err(Error::Unreachable("the engine is out of order".into()));
        }
        Ok(())
    }
}

/// The pod of a container, if the API still has it.
async fn pod_of(cluster: &Fake, who: &Identity) -> Option<Value> {
    let key = Key::new(kinds::POD.handle(), who.namespace.clone(), who.pod.clone());
    let calm = cluster.peek(&key)?;
    let pod = calm.value().unwrap();
    (pod["metadata"]["uid"] == who.uid.as_str()).then_some(pod)
}

/// `POD/CONTAINER.ATTEMPT`.
pub fn name_of(labels: &BTreeMap<String, String>) -> String {
    Identity::read(labels)
        .map(|who| format!("{}/{}.{}", who.pod, who.container, who.attempt))
        .unwrap_or_default()
}

#[async_trait]
impl Runtime for Faulty {
    async fn info(&self) -> Result<Info, Error> {
        self.engine.info().await
    }

    async fn ensure_network(&self, mark: &Mark, subnet: Option<Subnet>) -> Result<Network, Error> {
        self.engine.ensure_network(mark, subnet).await
    }

    async fn containers(&self, owner: &Owner) -> Result<Vec<Container>, Error> {
        self.trouble().await?;
        self.engine.containers(owner).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.trouble().await
    }

    async fn labels(&self, owner: &Owner) -> Result<Vec<(String, BTreeMap<String, String>)>, Error> {
        self.trouble().await?;
        self.engine.labels(owner).await
    }

    async fn of_pod(&self, owner: &Owner, uid: &str) -> Result<Vec<Container>, Error> {
        self.trouble().await?;
        self.engine.of_pod(owner, uid).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        self.trouble().await?;
        let panics = {
            let mut state = self.state.lock();
            let panics = state.faults.panics > 0;
            state.faults.panics = state.faults.panics.saturating_sub(1);
            panics
        };
        assert!(!panics, "a panic that the test asked for");
        self.engine.inspect(id).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        self.trouble().await?;
        let id = self.engine.create(spec).await?;
        self.push(What::Create, name_of(&spec.labels), id.clone());
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.trouble().await?;
        self.check_start(id).await;
        self.engine.start(id).await?;
        self.note(What::Start, id).await;
        Ok(())
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<Limits, Error> {
        self.trouble().await?;
        self.engine.update(id, limits).await
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        self.trouble().await?;
        self.note(What::Signal(signal.into()), id).await;
        self.engine.kill(id, signal).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.trouble().await?;
        self.check_remove(id).await;
        self.note(What::Remove, id).await;
        if self.state.lock().faults.no_removals {
            return Err(Error::Refused("removals are refused".into()));
        }
        self.engine.remove(id).await
    }

    async fn ended(&self, id: &str) -> Result<(), Error> {
        self.engine.ended(id).await
    }

    async fn help(&self, owner: &Owner, job: &Job) -> Result<u64, Error> {
        self.engine.help(owner, job).await
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: usize,
        timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        self.trouble().await?;
        self.engine.exec(id, command, limit, timeout).await
    }

    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
        size: Option<TerminalSize>,
    ) -> Result<Session, Error> {
        self.engine.open_exec(id, command, streams, size).await
    }

    async fn attach(&self, id: &str, streams: Streams) -> Result<Session, Error> {
        self.engine.attach(id, streams).await
    }

    fn logs(&self, id: &str, options: &LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
        self.engine.logs(id, options)
    }

    async fn events(&self, owner: &Owner) -> Result<BoxStream<'static, ContainerEvent>, Error> {
        self.trouble().await?;
        self.engine.events(owner).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        self.trouble().await?;
        self.engine.image(reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        self.engine.images().await
    }

    async fn pull(&self, reference: &str) -> Result<(), Error> {
        self.engine.pull(reference).await
    }

    async fn import(&self, reference: &str, tar: Bytes, changes: &[String]) -> Result<(), Error> {
        self.engine.import(reference, tar, changes).await
    }

    async fn open_files(&self, root: &Path, owner: &Owner) -> Result<Arc<dyn PodFiles>, Error> {
        self.engine.open_files(root, owner).await
    }

    async fn remove_files(&self, owner: &Owner, roots: &[PathBuf]) -> Result<(), Error> {
        self.engine.remove_files(owner, roots).await
    }

    async fn clean_up(&self, owner: &Owner, authority: &str) -> Result<Removed, Error> {
        self.engine.clean_up(owner, authority).await
    }

    fn answers_probes(&self, id: &str) -> Option<bool> {
        let panics = {
            let faults = &mut self.state.lock().faults;
            let panics = faults.probe_panics > 0;
            faults.probe_panics = faults.probe_panics.saturating_sub(1);
            panics
        };
        assert!(!panics, "a panic that the test asked for");
        self.engine.answers_probes(id)
    }
}
