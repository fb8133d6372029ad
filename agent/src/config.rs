//! The configuration of an agent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::Chance;
use coracle_client::line::Lines;

use crate::image::PAUSE_IMAGE;
use crate::labels::Mark;
use crate::runtime::Runtime;

/// The configuration of an agent.
#[derive(Clone)]
pub struct AgentConfig {
    /// The cluster's name: part of every label.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// What the node declares to have.
    pub size: Size,
    /// Labels of the Node beyond the usual ones, such as its zone.
    pub labels: BTreeMap<String, String>,
    /// Taints that it registers with: key, value, effect.
    pub taints: Vec<(String, String, String)>,
    /// What runs its containers.
    pub runtime: Arc<dyn Runtime>,
    /// What sandboxes run. [`PAUSE_IMAGE`] is made of this program where it is missing; any other must be there.
    pub sandbox_image: String,
    /// Where it keeps its pods' volumes.
    pub root: PathBuf,
    /// Which slice of the cluster's network it tries first, unless its Node has one; `None`: any.
    pub slice: Option<u16>,
    /// The API server as containers reach it, where no Service named `kubernetes` says so.
    pub api_server: Option<(IpAddr, u16)>,
    /// The cluster's certificate authority, PEM, where no ConfigMap `kube-root-ca.crt` holds it.
    pub ca: Option<String>,
    /// How often it reports.
    pub timing: Timing,
    /// What waits between attempts vary by, and what is chosen where others choose at the same time.
    pub chance: Chance,
    /// The way to the API server for logs, exec and attach; without it people cannot have them.
    pub lines: Option<Arc<dyn Lines>>,
}

impl AgentConfig {
    /// The cluster, as its engine knows it.
    pub fn mark(&self) -> Mark {
        Mark::new(&self.cluster, self.ca.as_deref())
    }

    /// A node of the usual size, with nothing special about it.
    pub fn new(cluster: &str, node: &str, runtime: Arc<dyn Runtime>, root: PathBuf) -> AgentConfig {
        AgentConfig {
            cluster: cluster.into(),
            node: node.into(),
            size: Size::default(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            runtime,
            sandbox_image: PAUSE_IMAGE.into(),
            root,
            slice: None,
            api_server: None,
            ca: None,
            timing: Timing::kubernetes(),
            chance: Chance::unforeseen(),
            lines: None,
        }
    }
}

/// What a node declares to have. It need not be what the machine has: a 2-cpu node can stand beside an 8-cpu node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of disk.
    pub storage: i64,
    /// How many pods it takes.
    pub pods: i64,
}

impl Default for Size {
    fn default() -> Size {
        Size { cpu_milli: 2000, memory: 2 << 30, storage: 20 << 30, pods: 110 }
    }
}

/// How often an agent reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two renewals of its lease.
    pub lease_renewal: Duration,
    /// How long the lease holds.
    pub lease_duration: Duration,
    /// Between two looks at all containers, in case an event was missed.
    pub resync: Duration,
    /// Between two refreshes of mounted ConfigMaps and Secrets.
    pub refresh: Duration,
}

impl Timing {
    /// Upstream's.
    pub fn kubernetes() -> Timing {
        Timing {
            lease_renewal: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            resync: Duration::from_secs(60),
            refresh: Duration::from_secs(60),
        }
    }

    /// Short, so that people watching do not wait.
    pub fn demo() -> Timing {
        Timing {
            lease_renewal: Duration::from_secs(2),
            lease_duration: Duration::from_secs(8),
            resync: Duration::from_secs(30),
            refresh: Duration::from_secs(5),
        }
    }
}
