//! What runs containers. One trait, two implementations held to one test suite: [`docker`] and [`sim`].
//!
//! The trait knows containers, images and one network, not pods: what a pod is made of is decided above it.

mod container_spec;
mod disk;
pub mod docker;
mod error;
mod files;
mod follow;
mod held;
pub mod sim;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::AsyncWrite;

use crate::helper::Job;
use crate::labels::{Mark, Owner};
use crate::network::Subnet;
pub use container_spec::{
    ContainerSpec, Enforced, HostPort, Limits, Mount, MountSource, NetworkMode, Propagation, Seccomp,
    Security, Share,
};
pub use error::Error;
pub use files::{File, Files, MachineFiles, PodFile, PodFiles, VolumeContent, VolumeSpec};
pub use held::Held;

/// A container engine. Every call answers within some minutes, if only with an error; without a limit are [`Runtime::ended`],
/// [`Runtime::events`], logs that are followed, and what goes on in a [`Session`].
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What the engine says of itself and its machine.
    async fn info(&self) -> Result<Info, Error>;

    /// Whether the engine answers; costs it nothing.
    async fn ping(&self) -> Result<(), Error>;

    /// Finds the cluster's network, or makes it: on this subnet, or else on one that collides with no other network of the
    /// engine. One that is there may have another subnet.
    ///
    /// # Errors
    /// [`Error::Foreign`] where another cluster of that name has one, [`Error::SubnetTaken`] where it cannot have this subnet.
    async fn ensure_network(&self, mark: &Mark, subnet: Option<Subnet>) -> Result<Network, Error>;

    /// All containers of an owner, running or not.
    async fn containers(&self, owner: &Owner) -> Result<Vec<Container>, Error>;

    /// The ids and labels of all containers of an owner: much cheaper than [`Runtime::containers`]. Containers that have an
    /// owner's labels only from their image are among them: a look at each tells.
    async fn labels(&self, owner: &Owner) -> Result<Vec<(String, BTreeMap<String, String>)>, Error>;

    /// The containers of one of an owner's pods, by the pod's uid.
    async fn of_pod(&self, owner: &Owner, uid: &str) -> Result<Vec<Container>, Error>;

    /// One container, by id or name; `None` if it is gone. One that no agent has made is shown without labels: they would be
    /// its image's.
    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error>;

    /// Makes a container and answers its id. It does not run yet.
    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error>;

    /// Starts a container.
    async fn start(&self, id: &str) -> Result<(), Error>;

    /// Changes what a container may use while it runs; what has no limit is left as it is. Answers what the container may use
    /// then, as the engine shows it.
    async fn update(&self, id: &str, limits: &Limits) -> Result<Limits, Error>;

    /// Which limits the engine enforces. Others it drops, and shows none.
    fn enforced(&self) -> Enforced {
        Enforced::default()
    }

    /// Sends a signal to a container's first process. One that has ended already is fine.
    async fn kill(&self, id: &str, signal: &str) -> Result<(), Error>;

    /// Removes a container, stopping it if it must. One that is gone already is fine.
    async fn remove(&self, id: &str) -> Result<(), Error>;

    /// Returns once a container does not run: it has ended, or it is gone.
    async fn ended(&self, id: &str) -> Result<(), Error>;

    /// Runs a command inside a container and collects what it writes, up to `limit` bytes. When its time is up, or
    /// the call is dropped, it is killed with everything that it started.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when its time is up, once it has ended.
    async fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: usize,
        timeout: Duration,
    ) -> Result<ExecOutput, Error>;

    /// Runs a command inside a container with its streams open; its terminal has this size as soon as it runs. When the session is dropped, the command gets a moment to
    /// end by itself and is killed then, with everything that it started.
    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
        size: Option<TerminalSize>,
    ) -> Result<Session, Error>;

    /// Attaches to a container's first process.
    async fn attach(&self, id: &str, streams: Streams) -> Result<Session, Error>;

    /// What a container has written. Ends when the log does, or with `follow` when the container does.
    fn logs(&self, id: &str, options: &LogOptions) -> BoxStream<'static, Result<LogLine, Error>>;

    /// What happens to an owner's containers, from now on. Ends when the engine can no longer be heard.
    async fn events(&self, owner: &Owner) -> Result<BoxStream<'static, ContainerEvent>, Error>;

    /// An image that is here; `None` if it is not.
    async fn image(&self, reference: &str) -> Result<Option<Image>, Error>;

    /// The images that are here.
    async fn images(&self) -> Result<Vec<Image>, Error>;

    /// Fetches an image from its registry.
    async fn pull(&self, reference: &str) -> Result<(), Error>;

    /// Makes an image from a tar of its root folder. `changes` are lines such as `ENTRYPOINT [..]`.
    async fn import(&self, reference: &str, tar: Bytes, changes: &[String]) -> Result<(), Error>;

    /// Has a helper do a job as root, where this process may not do it.
    async fn help(&self, owner: &Owner, job: &Job) -> Result<u64, Error>;

    /// Opens the files of a node's pods, which lie below a folder where they lie on a disk at all.
    async fn open_files(&self, root: &Path, owner: &Owner) -> Result<Arc<dyn PodFiles>, Error>;

    /// Removes the files of all pods of nodes that had these folders.
    ///
    /// # Errors
    /// What is left, and why.
    async fn remove_files(&self, owner: &Owner, roots: &[PathBuf]) -> Result<(), Error>;

    /// Removes every container, network and volume of an owner and answers what was removed.
    ///
    /// # Errors
    /// [`Error::Foreign`] where they are those of another cluster of that name.
    async fn clean_up(&self, owner: &Owner, authority: &str) -> Result<Removed, Error>;

    /// The answer to every probe of a container that only seems to run; `None`: the container itself has to be asked.
    fn answers_probes(&self, _id: &str) -> Option<bool> {
        None
    }
}

/// What the engine says of itself and its machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Such as `docker://20.10.24`.
    pub version: String,
    /// Such as `6.1.0`.
    pub kernel: String,
    /// Such as `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// `linux`.
    pub operating_system: String,
    /// As Go names it: `amd64`, `arm64`.
    pub architecture: String,
    /// The machine's id, which no other machine has.
    pub machine_id: String,
    /// The id of this start of the machine.
    pub boot_id: String,
    /// Processors of the machine.
    pub cpus: u32,
    /// Bytes of memory of the machine.
    pub memory: u64,
}

/// The cluster's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The engine's id. One that is made again has another.
    pub id: String,
    /// Its name on the engine.
    pub name: String,
    /// The addresses of its pods.
    pub subnet: Subnet,
    /// The engine's own address on it: how pods reach the machine.
    pub gateway: Ipv4Addr,
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The id of its image.
    pub image_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// What it is doing.
    pub state: State,
    /// What it may use; `oom_score_adj` is not shown.
    pub limits: Limits,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// The number of its first process on the machine; 0 if it does not run.
    pub pid: i64,
    /// Its address on the network that it was made for, while it runs; `None` if it was made for none, or is not connected.
    pub address: Option<Ipv4Addr>,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Since.
        started: Timestamp,
    },
    /// Over.
    Exited {
        /// The exit code of its first process; 128 if it could not be started.
        code: i64,
        /// Whether it was killed for using too much memory.
        oom: bool,
        /// From; `None` if it could not be started.
        started: Option<Timestamp>,
        /// To.
        finished: Timestamp,
        /// Why it could not be started.
        error: String,
    },
}

impl State {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self, State::Running { .. })
    }

    /// Whether it is over.
    pub fn is_exited(&self) -> bool {
        matches!(self, State::Exited { .. })
    }
}

/// Something has happened to a container. The event says which one; the container itself has to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The engine's id.
    pub id: String,
    /// The uid of its pod.
    pub uid: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was started.
    Started,
    /// Somebody, perhaps the agent, sent it a signal that a process can act on: any but SIGKILL.
    Signalled,
    /// It ended. A container that was restarted in place shows no more how it ended before: this does.
    Ended {
        /// The exit code of its first process.
        code: i64,
        /// When.
        at: Timestamp,
    },
    /// It is no longer connected to a network, though it runs.
    Disconnected,
    /// It is gone.
    Removed,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i64,
    /// What it wrote, both streams together.
    pub output: Vec<u8>,
}

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Of a line.
    pub width: u16,
    /// How many lines it shows.
    pub height: u16,
}

/// A process with its streams open.
pub struct Session {
    /// What it writes, until it ends.
    pub output: BoxStream<'static, Result<Output, Error>>,
    /// Where its input goes; dropped or shut down, the process reads the end.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// The process itself.
    pub process: Arc<dyn Process>,
}

/// A process that a [`Session`] belongs to.
#[async_trait]
pub trait Process: Send + Sync {
    /// Tells its terminal its size.
    async fn resize(&self, size: TerminalSize) -> Result<(), Error>;
    /// Its exit code once its output has ended; `None` while it still runs.
    async fn exit_code(&self) -> Result<Option<i64>, Error>;
}

/// A piece of what a process wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Which stream.
    pub stderr: bool,
    /// The bytes.
    pub data: Bytes,
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as the container writes.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only what was written since.
    pub since: Option<Timestamp>,
}

/// A line of a log, its end included, or a piece of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, as the engine's text: RFC 3339 with nanoseconds.
    pub time: String,
    /// Which stream.
    pub stderr: bool,
    /// The bytes.
    pub data: Bytes,
}

/// An image that is here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Its id, such as `sha256:...`.
    pub id: String,
    /// What it is called, such as `nginx:1.27`.
    pub names: Vec<String>,
    /// What its registry calls it, such as `nginx@sha256:...`.
    pub digests: Vec<String>,
    /// The user that it asks for; empty is root.
    pub user: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes.
    pub size: u64,
}

/// What a clean-up removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Volumes.
    pub volumes: usize,
}
