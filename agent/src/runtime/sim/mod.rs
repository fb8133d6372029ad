//! Simulated containers: state machines on the given clock. They start, end, crash and answer probes as their environment
//! says, so that a manifest can steer them:
//!
//! | variable | means |
//! |---|---|
//! | `SIM_START_MS` | how long a start takes (by default what the runtime was made with) |
//! | `SIM_RUN_MS` | how long the container runs before it ends by itself (by default for ever) |
//! | `SIM_EXIT_CODE` | with which code it then ends (0) |
//! | `SIM_STOP_MS` | how long it takes to end when asked to (0); it answers 0 then |
//! | `SIM_HEALTHY` | `false`: its probes and the commands run in it fail |

mod files;
mod network;
mod stranger;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_client::Clock;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::{
    Container, ContainerEvent, ContainerSpec, Error, EventKind, ExecOutput, Image, Info, Limits, LogLine,
    LogOptions, Network, NetworkMode, PodFiles, Removed, Runtime, Session, State, Streams, TerminalSize,
};
use crate::helper::Job;
use crate::labels::{self, Mark, Owner};
use crate::network::Subnet;
use files::SimFiles;

/// How many events a listener may lag behind before it has to look at everything.
const EVENTS: usize = 4096;

/// Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct SimRuntime(Arc<Engine>);

struct Engine {
    clock: Clock,
    start_time: Duration,
    containers: Mutex<Containers>,
    events: broadcast::Sender<(BTreeMap<String, String>, ContainerEvent)>,
    pulls: Mutex<Pulls>,
    files: files::PodsByRoot,
}

/// Pulls of images, which are only counted and waited for.
#[derive(Default)]
struct Pulls {
    count: usize,
    time: Duration,
}

#[derive(Default)]
struct Containers {
    by_id: BTreeMap<String, Simulated>,
    /// Which container has a name.
    names: BTreeMap<String, String>,
    /// Which running container has an address.
    addresses: BTreeMap<Ipv4Addr, String>,
    /// The number of the cluster's network, if it is there.
    network: Option<u64>,
    made: u64,
}

struct Simulated {
    container: Container,
    name: String,
    /// The address that it is to have.
    address: Option<Ipv4Addr>,
    env: BTreeMap<String, String>,
    /// Whether an agent has made it; if not, its labels are those of its image.
    is_marked: bool,
    /// How often it was started.
    run: u64,
    /// Whether it stands still.
    paused: bool,
    /// The code with which it ends once it goes on.
    due: Option<i64>,
}

impl Simulated {
    fn millis(&self, name: &str) -> Option<Duration> {
        self.env.get(name)?.parse().ok().map(Duration::from_millis)
    }

    /// As an agent sees it.
    fn seen(&self) -> Container {
        let labels = if self.is_marked { self.container.labels.clone() } else { BTreeMap::new() };
        Container { labels, ..self.container.clone() }
    }

    fn healthy(&self) -> bool {
        !self.paused && self.env.get("SIM_HEALTHY").is_none_or(|text| text != "false")
    }
}

impl SimRuntime {
    /// An engine without containers, whose containers take `start_time` to start.
    pub fn new(clock: Clock, start_time: Duration) -> SimRuntime {
        let (events, _) = broadcast::channel(EVENTS);
        SimRuntime(Arc::new(Engine {
            clock,
            start_time,
            containers: Mutex::default(),
            events,
            pulls: Mutex::default(),
            files: files::PodsByRoot::default(),
        }))
    }

    /// Sets how long a pull takes from now on.
    pub fn pulls_take(&self, time: Duration) {
        self.0.pulls.lock().time = time;
    }

    /// How many pulls were asked for.
    pub fn pulls(&self) -> usize {
        self.0.pulls.lock().count
    }

    /// Ends a running container with a code, as a crash does.
    pub fn crash(&self, id: &str, code: i64, oom: bool) {
        self.0.end(id, code, oom);
    }
}

impl Engine {
    fn send_event(&self, labels: &BTreeMap<String, String>, id: &str, kind: EventKind) {
        let uid = labels.get(labels::UID).cloned().unwrap_or_default();
        // An error says that nobody listens.
        let _ = self.events.send((labels.clone(), ContainerEvent { id: id.into(), uid, kind }));
    }

    fn end(&self, id: &str, code: i64, oom: bool) {
        let mut containers = self.containers.lock();
        let Some(found) = containers.by_id.get_mut(id) else { return };
        let State::Running { started } = found.container.state else { return };
        let finished = self.clock.now();
        found.container.state =
            State::Exited { code, oom, started: Some(started), finished, error: String::new() };
        found.container.pid = 0;
        found.paused = false;
        let labels = found.container.labels.clone();
        containers.disconnect(id);
        drop(containers);
        self.send_event(&labels, id, EventKind::Ended { code, at: finished });
    }

    /// Ends a container after a while, unless it has ended or was started anew before. One that is paused then ends once
    /// it goes on.
    fn end_later(self: &Arc<Engine>, id: &str, after: Duration, code: i64) {
        let (engine, id) = (self.clone(), id.to_owned());
        let Ok(run) = self.with(&id, |one| one.run) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let ends = engine.with(&id, |one| {
                if one.paused && one.run == run {
                    one.due = Some(code);
                }
                one.run == run && !one.paused
            });
            if ends == Ok(true) {
                engine.end(&id, code, false);
            }
        });
    }

    /// Runs a container.
    fn run(self: &Arc<Engine>, id: &str) -> Result<(), Error> {
        if self.with(id, |one| one.container.state.is_running())? {
            return Err(Error::Conflict(format!("container {id} runs already")));
        }
        self.take_address(id)?;
        let started = self.clock.now();
        let (labels, run, code) = self.with(id, |one| {
            one.container.state = State::Running { started };
            one.container.pid = 1;
            one.run += 1;
            one.due = None;
            let code = one.env.get("SIM_EXIT_CODE").and_then(|text| text.parse().ok()).unwrap_or(0);
            (one.container.labels.clone(), one.millis("SIM_RUN_MS"), code)
        })?;
        self.send_event(&labels, id, EventKind::Started);
        if let Some(run) = run {
            self.end_later(id, run, code);
        }
        Ok(())
    }

    /// Sends a signal. The container's environment says what follows. One that is paused goes on.
    fn signal(self: &Arc<Engine>, id: &str, signal: &str) {
        let heard = self.with(id, |one| {
            one.paused = false;
            let runs = one.container.state.is_running();
            runs.then(|| (one.millis("SIM_STOP_MS"), one.container.labels.clone()))
        });
        let Ok(Some((pause, labels))) = heard else { return };
        if signal != "SIGKILL" {
            self.send_event(&labels, id, EventKind::Signalled);
        }
        match (signal, pause) {
            ("SIGKILL", _) => self.end(id, 137, false),
            (_, None) => self.end(id, 0, false),
            (_, Some(pause)) => self.end_later(id, pause, 0),
        }
    }

    /// Removes a container, ending it if it runs. It cannot be inspected any more then.
    fn remove(&self, id: &str) {
        let mut containers = self.containers.lock();
        containers.disconnect(id);
        let Some(removed) = containers.by_id.remove(id) else { return };
        containers.names.remove(&removed.name);
        drop(containers);
        let labels = &removed.container.labels;
        if removed.container.state.is_running() {
            self.send_event(labels, id, EventKind::Ended { code: 137, at: self.clock.now() });
        }
        self.send_event(labels, id, EventKind::Removed);
    }

    fn with<T>(&self, id: &str, read: impl FnOnce(&mut Simulated) -> T) -> Result<T, Error> {
        let mut containers = self.containers.lock();
        containers
            .by_id
            .get_mut(id)
            .map(read)
            .ok_or_else(|| Error::NotFound(format!("No such container: {id}")))
    }
}

fn owned(labels: &BTreeMap<String, String>, owner: &Owner) -> bool {
    labels.get(labels::CLUSTER) == Some(&owner.cluster)
        && owner.node.as_ref().is_none_or(|node| labels.get(labels::NODE) == Some(node))
}

#[async_trait]
impl Runtime for SimRuntime {
    async fn info(&self) -> Result<Info, Error> {
        Ok(Info {
            version: "sim://1".into(),
            kernel: "simulated".into(),
            os_image: "simulated".into(),
            operating_system: "linux".into(),
            architecture: "amd64".into(),
            machine_id: "simulated".into(),
            boot_id: "simulated".into(),
            cpus: 1,
            memory: 1 << 30,
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ensure_network(&self, mark: &Mark, _: Option<Subnet>) -> Result<Network, Error> {
        Ok(self.0.containers.lock().network(mark))
    }

    async fn containers(&self, owner: &Owner) -> Result<Vec<Container>, Error> {
        let containers = self.0.containers.lock();
        Ok(containers.by_id.values().map(Simulated::seen).filter(|one| owned(&one.labels, owner)).collect())
    }

    async fn labels(&self, owner: &Owner) -> Result<Vec<(String, BTreeMap<String, String>)>, Error> {
        let containers = self.0.containers.lock();
        let all = containers.by_id.values().map(|one| &one.container);
        let owned = all.filter(|one| owned(&one.labels, owner));
        Ok(owned.map(|one| (one.id.clone(), one.labels.clone())).collect())
    }

    async fn of_pod(&self, owner: &Owner, uid: &str) -> Result<Vec<Container>, Error> {
        let all = self.containers(owner).await?;
        Ok(all.into_iter().filter(|one| one.labels.get(labels::UID).is_some_and(|of| of == uid)).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        let containers = self.0.containers.lock();
        let id = containers.names.get(id).map_or(id, String::as_str);
        let found = containers.by_id.get(id);
        Ok(found.map(Simulated::seen))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        let mut containers = self.0.containers.lock();
        if containers.names.contains_key(&spec.name) {
            return Err(Error::Conflict(format!("The container name {:?} is already in use", spec.name)));
        }
        containers.made += 1;
        let id = format!("{:064x}", containers.made);
        let env = spec.env.iter().filter_map(|pair| pair.split_once('='));
        let container = Container {
            id: id.clone(),
            labels: spec.labels.clone(),
            image_id: format!("sim:{}", spec.image),
            created: self.0.clock.now(),
            state: State::Created,
            limits: Limits { oom_score_adj: 0, ..spec.limits },
            stop_signal: "SIGTERM".into(),
            pid: 0,
            address: None,
        };
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let address = match &spec.network {
            NetworkMode::Bridge { address, .. } => Some(*address),
            _ => None,
        };
        containers.names.insert(spec.name.clone(), id.clone());
        containers.by_id.insert(
            id.clone(),
            Simulated {
                container,
                name: spec.name.clone(),
                address,
                env,
                is_marked: true,
                run: 0,
                paused: false,
                due: None,
            },
        );
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        let pause = self.0.with(id, |one| one.millis("SIM_START_MS"))?.unwrap_or(self.0.start_time);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.0.run(id)
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<Limits, Error> {
        self.0.with(id, |one| {
            let shown = &mut one.container.limits;
            let changes = [
                (&mut shown.cpu_shares, limits.cpu_shares),
                (&mut shown.cpu_milli, limits.cpu_milli),
                (&mut shown.memory, limits.memory),
            ];
            changes.into_iter().filter(|(_, wanted)| *wanted > 0).for_each(|(shown, wanted)| *shown = wanted);
            *shown
        })
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        self.0.signal(id, signal);
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.0.remove(id);
        Ok(())
    }

    async fn ended(&self, id: &str) -> Result<(), Error> {
        let mut events = self.0.events.subscribe();
        while self.0.with(id, |one| one.container.state.is_running()).unwrap_or(false) {
            // One that was left behind looks again, too.
            let _ = events.recv().await;
        }
        Ok(())
    }

    async fn exec(&self, id: &str, _: &[String], _: usize, _: Duration) -> Result<ExecOutput, Error> {
        let healthy = self.0.with(id, |one| one.container.state.is_running().then(|| one.healthy()))?;
        match healthy {
            Some(healthy) => Ok(ExecOutput { code: i64::from(!healthy), output: Vec::new() }),
            None => Err(Error::Conflict(format!("container {id} is not running"))),
        }
    }

    async fn open_exec(
        &self,
        _: &str,
        _: &[String],
        _: Streams,
        _: Option<TerminalSize>,
    ) -> Result<Session, Error> {
        Err(Error::Refused("nothing can be run in a simulated container".into()))
    }

    async fn attach(&self, _: &str, _: Streams) -> Result<Session, Error> {
        Err(Error::Refused("a simulated container has no streams".into()))
    }

    fn logs(&self, _: &str, _: &LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
        stream::empty().boxed()
    }

    async fn events(&self, owner: &Owner) -> Result<BoxStream<'static, ContainerEvent>, Error> {
        let owner = owner.clone();
        let events = BroadcastStream::new(self.0.events.subscribe());
        // A listener that was left behind is cut off, and looks at everything anew.
        let events = events.take_while(|event| std::future::ready(event.is_ok())).filter_map(move |event| {
            let mine = event.ok().filter(|(labels, _)| owned(labels, &owner)).map(|(_, event)| event);
            std::future::ready(mine)
        });
        Ok(events.boxed())
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        Ok(Some(Image {
            id: format!("sim:{reference}"),
            names: vec![reference.into()],
            ..Default::default()
        }))
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        Ok(Vec::new())
    }

    async fn pull(&self, _: &str) -> Result<(), Error> {
        let time = {
            let mut pulls = self.0.pulls.lock();
            pulls.count += 1;
            pulls.time
        };
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        Ok(())
    }

    async fn import(&self, _: &str, _: Bytes, _: &[String]) -> Result<(), Error> {
        Ok(())
    }

    async fn help(&self, _: &Owner, _: &Job) -> Result<u64, Error> {
        Err(Error::Refused("a simulated engine does nothing as root".into()))
    }

    async fn open_files(&self, root: &Path, _: &Owner) -> Result<Arc<dyn PodFiles>, Error> {
        Ok(Arc::new(SimFiles { root: root.to_path_buf(), pods: self.0.files.clone() }))
    }

    async fn remove_files(&self, _: &Owner, roots: &[PathBuf]) -> Result<(), Error> {
        self.0.files.lock().retain(|root, _| !roots.contains(root));
        Ok(())
    }

    async fn clean_up(&self, owner: &Owner, _authority: &str) -> Result<Removed, Error> {
        let gone = self.containers(owner).await?;
        for container in &gone {
            self.remove(&container.id).await?;
        }
        Ok(Removed { containers: gone.len(), ..Default::default() })
    }

    fn answers_probes(&self, id: &str) -> Option<bool> {
        Some(self.0.with(id, |one| one.container.state.is_running() && one.healthy()).unwrap_or(false))
    }
}
