//! A runtime that writes down what it is asked to do, and does some of it late, wrongly, or not at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_agent::helper::Job;
use coracle_agent::labels::{Identity, Mark, Owner};
use coracle_agent::runtime::{
    Container, ContainerEvent, ContainerSpec, Error, ExecOutput, Image, Info, Limits, LogLine, LogOptions,
    Network, Removed, Runtime, Session, Streams,
};
use coracle_agent::sim::SimRuntime;
use futures::stream::BoxStream;
use parking_lot::Mutex;
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
}

impl Faulty {
    pub fn new(engine: SimRuntime) -> Faulty {
        Faulty { engine, state: Arc::default() }
    }

    pub fn set(&self, faults: Faults) {
        self.state.lock().faults = faults;
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

/// `POD/CONTAINER.ATTEMPT`.
pub fn name_of(labels: &std::collections::BTreeMap<String, String>) -> String {
    Identity::read(labels)
        .map(|who| format!("{}/{}.{}", who.pod, who.container, who.attempt))
        .unwrap_or_default()
}

#[async_trait]
impl Runtime for Faulty {
    async fn info(&self) -> Result<Info, Error> {
        self.engine.info().await
    }

    async fn ensure_network(&self, mark: &Mark) -> Result<Network, Error> {
        self.engine.ensure_network(mark).await
    }

    async fn containers(&self, owner: &Owner) -> Result<Vec<Container>, Error> {
        self.trouble().await?;
        self.engine.containers(owner).await
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
        self.note(What::Start, id).await;
        self.engine.start(id).await
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<(), Error> {
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
        self.note(What::Remove, id).await;
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

    async fn open_exec(&self, id: &str, command: &[String], streams: Streams) -> Result<Session, Error> {
        self.engine.open_exec(id, command, streams).await
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

    async fn clean_up(&self, owner: &Owner, authority: &str) -> Result<Removed, Error> {
        self.engine.clean_up(owner, authority).await
    }

    fn answers_probes(&self, id: &str) -> Option<bool> {
        self.engine.answers_probes(id)
    }
}
