//! The description from which a runtime makes a container, whatever the runtime is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::held::Held;

/// Everything about a container that is to be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// Unique on the engine.
    pub name: String,
    /// See [`crate::labels`].
    pub labels: BTreeMap<String, String>,
    /// A reference or an id.
    pub image: String,
    /// Replaces the image's entry point (and its command); empty keeps it.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command; empty keeps it.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Empty: the image's. Made if it is missing.
    pub working_dir: String,
    /// `uid`, `uid:gid`, or empty for the image's.
    pub user: String,
    /// Further groups.
    pub groups: Vec<i64>,
    /// Only where the container has a network of its own.
    pub hostname: String,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first client.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// What it sees of files beyond its image.
    pub mounts: Vec<Mount>,
    /// What network it is on.
    pub network: NetworkMode,
    /// Whose IPC objects and shared memory it sees.
    pub ipc: Share,
    /// Whose processes it sees.
    pub pid: Share,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub security: Security,
    /// Kernel settings of its network or IPC namespace.
    pub sysctls: BTreeMap<String, String>,
    /// Whether the engine removes it when it has ended, without being asked.
    pub removed_at_end: bool,
}

/// A folder or file of the machine, or a named volume, inside a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Where it comes from.
    pub source: MountSource,
    /// Where it is seen.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
    /// Which mounts made later are seen on the other side.
    pub propagation: Propagation,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// A path of the machine.
    Path(PathBuf),
    /// A file or folder of the machine that is held open: it is mounted even if another has its name by then.
    Held(Held),
    /// Memory that several containers share; lives as long as one of them runs.
    Memory {
        /// Unique on the engine.
        volume: String,
        /// See [`crate::labels`].
        labels: BTreeMap<String, String>,
        /// Bytes; 0 for the engine's own limit.
        size: u64,
        /// Permission bits of its root.
        mode: u32,
        /// The group that owns its root.
        group: i64,
    },
}

/// Which mounts made later are seen on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// The machine's, in the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// What network a container is on.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum NetworkMode {
    /// None at all.
    None,
    /// The machine's own.
    #[default]
    Host,
    /// The cluster's network, at this address, with these ports of the machine leading to it.
    Bridge {
        /// The network's name.
        network: String,
        /// The container's address.
        address: Ipv4Addr,
        /// Ports of the machine.
        ports: Vec<HostPort>,
    },
    /// That of another container, by id.
    Container(String),
}

/// A port of the machine that leads to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Inside.
    pub container: u16,
    /// Outside.
    pub host: u16,
    /// The machine's address that listens; empty for all.
    pub address: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Whose namespace a container is in.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Share {
    /// Its own.
    #[default]
    Own,
    /// Its own, which others may join.
    Shareable,
    /// The machine's.
    Host,
    /// That of another container, by id.
    Container(String),
}

/// What a container may use. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Weight against others; 1024 is one core.
    pub cpu_shares: i64,
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Who is killed first when the machine runs out of memory: -1000 (never) to 1000 (first).
    pub oom_score_adj: i64,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu weight {}", self.cpu_shares)?;
        match self.cpu_milli {
            0 => write!(f, ", no limit of cpu")?,
            milli => write!(f, ", cpu {milli}m")?,
        }
        match self.memory {
            0 => write!(f, ", no limit of memory"),
            bytes => write!(f, ", memory {bytes}"),
        }
    }
}

impl Limits {
    /// Whether a container that shows `shown` has all of these; what is not limited here may be limited there.
    pub fn hold_in(&self, shown: &Limits) -> bool {
        let holds = |wanted: i64, shown: i64| wanted == 0 || wanted == shown;
        holds(self.cpu_shares, shown.cpu_shares)
            && holds(self.cpu_milli, shown.cpu_milli)
            && holds(self.memory, shown.memory)
    }
}

/// Which limits an engine enforces: its kernel may lack some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// [`Limits::cpu_shares`].
    pub cpu_shares: bool,
    /// [`Limits::cpu_milli`].
    pub cpu: bool,
    /// [`Limits::memory`].
    pub memory: bool,
}

impl Default for Enforced {
    fn default() -> Enforced {
        Enforced { cpu_shares: true, cpu: true, memory: true }
    }
}

impl Enforced {
    /// The same limits without those that are not enforced.
    pub fn of(self, limits: Limits) -> Limits {
        let kept = |enforced: bool, limit: i64| if enforced { limit } else { 0 };
        Limits {
            cpu_shares: kept(self.cpu_shares, limits.cpu_shares),
            cpu_milli: kept(self.cpu, limits.cpu_milli),
            memory: kept(self.memory, limits.memory),
            ..limits
        }
    }
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    /// Everything.
    pub privileged: bool,
    /// Capabilities beyond the engine's usual ones, without `CAP_`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away, or `ALL`.
    pub cap_drop: Vec<String>,
    /// Write nowhere but in mounts.
    pub read_only_root: bool,
    /// Gain no rights by running a set-uid program.
    pub no_new_privileges: bool,
    /// Which system calls are let through.
    pub seccomp: Seccomp,
    /// Show all of `/proc`.
    pub unmasked_proc: bool,
}

/// Which system calls are let through.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seccomp {
    /// All: Kubernetes' default.
    #[default]
    Unconfined,
    /// Those of the engine's profile.
    RuntimeDefault,
    /// Those of a profile, given as JSON.
    Profile(String),
}
