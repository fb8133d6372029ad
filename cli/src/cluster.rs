//! Where a cluster lives on disk, whether it runs, and which one a command means.
//!
//! `~/.coracle/NAME/` holds `data/` (the store), `pki/`, `kubeconfig`, `cluster.json` (what `up` was asked for), `log`,
//! `lock` (held by the running cluster) and `control.sock`.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_api::names;
use serde::{Deserialize, Serialize};

use crate::parts::Parts;
use crate::size::NodeSize;

/// How every command names its cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Name of the cluster
    #[arg(long, global = true, value_name = "NAME", help_heading = "Which cluster")]
    pub name: Option<String>,
    /// Folder of the cluster, instead of ~/.coracle/NAME
    #[arg(long, global = true, value_name = "DIR", help_heading = "Which cluster")]
    pub data_dir: Option<PathBuf>,
}

/// The name where none is given.
pub const DEFAULT_NAME: &str = "demo";

/// A cluster's folder.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name; labels on containers and the kubeconfig context carry it.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
}

/// What `up` was asked for, kept so that `up` after a crash goes on where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The cluster's name.
    pub name: String,
    /// Port of the API server; kept, so that kubeconfigs stay valid.
    pub port: u16,
    /// `docker` or `sim`.
    pub runtime: Runtime,
    /// `demo` or `kubernetes`.
    pub timing: Timing,
    /// Which components run.
    pub parts: Parts,
    /// Whether requests without credentials are those of `system:anonymous`.
    #[serde(default)]
    pub anonymous_auth: bool,
    /// How long events are kept after they were last written.
    #[serde(default = "event_ttl")]
    pub event_ttl: Duration,
    /// The nodes whose agents run here.
    pub nodes: Vec<NodeSpec>,
    /// How the scheduler chooses among them.
    #[serde(default)]
    pub scheduler: coracle_scheduler::Config,
}

fn event_ttl() -> Duration {
    coracle_apiserver::EVENT_TTL
}

/// What runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Real containers on the local Docker Engine.
    #[default]
    Docker,
    /// Simulated containers.
    Sim,
}

/// How fast the cluster notices and reacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Short leases and tolerations: a lost node is noticed in seconds.
    #[default]
    Demo,
    /// Upstream's defaults: 40 s to notice a lost node, 300 s before its pods move.
    Kubernetes,
}

/// The label that says where a node stands.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its declared size.
    #[serde(default)]
    pub size: NodeSize,
    /// Its value of the label [`ZONE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// More labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints, as `key=value:Effect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
    /// Whether its agent is to run; `coracle node stop` says no.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub running: bool,
}

impl NodeSpec {
    /// A node without labels and taints.
    pub fn new(name: &str, size: NodeSize) -> NodeSpec {
        let (labels, taints) = (BTreeMap::new(), Vec::new());
        NodeSpec { name: name.to_owned(), size, zone: None, labels, taints, running: true }
    }

    /// Whether an API server will take such a node.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        if let Some(fault) = names::dns_subdomain(name).first() {
            bail!("{name:?} cannot be the name of a node: {fault}");
        }
        let zone = self.zone.iter().map(|zone| (ZONE, zone.as_str()));
        for (key, value) in self.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(zone) {
            if let Some(fault) = names::qualified_name(key).iter().chain(&names::label_value(value)).next() {
                bail!("node {name}: label {key:?}={value:?}: {fault}");
            }
        }
        let amounts = self.size.amounts().with_context(|| format!("node {name}"))?;
        if amounts.cpu_milli == 0 || amounts.memory == 0 {
            bail!("node {name} offers no cpu or no memory; write a size as 2cpu,2Gi");
        }
        self.parsed_taints().with_context(|| format!("node {name}"))?;
        Ok(())
    }

    /// Its taints as key, value and effect.
    ///
    /// # Errors
    /// One that is not written as kubectl writes it.
    pub fn parsed_taints(&self) -> Result<Vec<(String, String, String)>> {
        self.taints.iter().map(|text| taint(text)).collect()
    }
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Result<(String, String, String)> {
    let (what, effect) =
        text.rsplit_once(':').with_context(|| format!("{text:?}: write a taint as key=value:Effect"))?;
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        bail!("{text:?}: the effect of a taint is NoSchedule, PreferNoSchedule or NoExecute");
    }
    if let Some(fault) = names::qualified_name(key).iter().chain(&names::label_value(value)).next() {
        bail!("{text:?}: {fault}");
    }
    Ok((key.into(), value.into(), effect.into()))
}

fn yes() -> bool {
    true
}

fn is_true(flag: &bool) -> bool {
    *flag
}

/// The folder of all clusters: `$CORACLE_HOME`, or `~/.coracle`.
fn home() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CORACLE_HOME") {
        return Ok(dir.into());
    }
    let home = std::env::home_dir().context("no home directory; say where with --data-dir DIR")?;
    Ok(home.join(".coracle"))
}

impl Selection {
    /// The cluster that `up` makes or finds.
    ///
    /// # Errors
    /// A name that cannot be one.
    pub fn to_make(&self) -> Result<Cluster> {
        let name = self.name.clone().unwrap_or_else(|| DEFAULT_NAME.into());
        let dir = match &self.data_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => home()?.join(&name),
        };
        // A folder that already holds a cluster keeps that cluster's name.
        let name = match (Cluster { name: name.clone(), dir: dir.clone() }.spec(), &self.name) {
            (Ok(Some(spec)), None) => spec.name,
            (Ok(Some(spec)), Some(wanted)) if spec.name != *wanted => {
                bail!("{} holds the cluster {:?}, not {wanted:?}", dir.display(), spec.name)
            }
            _ => name,
        };
        check_name(&name)?;
        Ok(Cluster { name, dir })
    }

    /// The cluster that a command means: the named one, or the only one there is.
    ///
    /// # Errors
    /// None, or several to choose from.
    pub fn find(&self) -> Result<Cluster> {
        if self.name.is_some() || self.data_dir.is_some() {
            let cluster = self.to_make()?;
            if !cluster.is_there() {
                bail!(
                    "there is no cluster {:?} in {}; `coracle up` makes one",
                    cluster.name,
                    cluster.dir.display()
                );
            }
            return Ok(cluster);
        }
        let all = Cluster::all()?;
        let running: Vec<&Cluster> = all.iter().filter(|c| c.is_running()).collect();
        match (running.as_slice(), all.as_slice()) {
            ([one], _) => Ok((*one).clone()),
            ([], [one]) => Ok(one.clone()),
            ([], []) => bail!("there is no cluster; `coracle up` makes one"),
            ([], some) => bail!("which cluster? None runs; say --name with one of {}", names(some.iter())),
            (some, _) => bail!("which cluster? Say --name with one of {}", names(some.iter().copied())),
        }
    }
}

fn names<'a>(clusters: impl Iterator<Item = &'a Cluster>) -> String {
    clusters.map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Names go into container names, labels and file names: a DNS label, short enough to leave room for the rest.
fn check_name(name: &str) -> Result<()> {
    let fine = (1..=30).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fine {
        Ok(())
    } else {
        bail!("{name:?} cannot name a cluster; use up to 30 of a-z, 0-9 and inner dashes")
    }
}

impl Cluster {
    /// Every cluster below the home folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all() -> Result<Vec<Cluster>> {
        let home = home()?;
        let entries = match fs::read_dir(&home) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", home.display())),
        };
        let mut all = Vec::new();
        for entry in entries {
            let dir = entry?.path();
            let Some(name) = dir.file_name().and_then(|n| n.to_str()) else { continue };
            let cluster = Cluster { name: name.into(), dir: dir.clone() };
            if cluster.is_there() {
                all.push(cluster);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Whether the folder holds a cluster, or one whose first start did not come to its end.
    pub fn is_there(&self) -> bool {
        ["cluster.json", "lock"].iter().any(|file| self.dir.join(file).exists())
    }

    /// Path of the kubeconfig that the API server writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The certificate of its authority, in PEM; `None` if it never started.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority(&self) -> Result<Option<String>> {
        let path = self.dir.join("pki").join("ca.crt");
        match fs::read_to_string(&path) {
            Ok(pem) => Ok(Some(pem)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Path of the mark of a cluster that a tour made and that goes with it.
    pub fn tour_mark(&self) -> PathBuf {
        self.dir.join("tour")
    }

    /// Path of the log of a detached cluster.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Path of the socket on which the running cluster takes orders.
    pub fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Name of the kubeconfig context.
    pub fn context(&self) -> String {
        format!("coracle-{}", self.name)
    }

    /// What `up` was asked for; `None` where there was no `up` yet.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn spec(&self) -> Result<Option<Spec>> {
        let path = self.dir.join("cluster.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let spec = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} is damaged; remove it and run `coracle up`", path.display())
                })?;
                Ok(Some(spec))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps what `up` was asked for: whole or not at all, even if the machine stops in the middle.
    ///
    /// # Errors
    /// The disk says no.
    pub fn save(&self, spec: &Spec) -> Result<()> {
        write_whole(&self.dir.join("cluster.json"), &serde_json::to_vec_pretty(spec)?)
    }

    /// Makes the folder, for its owner only.
    ///
    /// # Errors
    /// The disk says no.
    pub fn make_dir(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))
    }

    /// Takes the cluster's lock, which the kernel lets go when the process ends, however it ends. `None`: it runs.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub fn lock(&self) -> Result<Option<File>> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.dir.join("lock");
        // Whoever can open it can hold it, and keep the cluster from starting.
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether a process runs this cluster now.
    pub fn is_running(&self) -> bool {
        self.dir.join("lock").exists() && matches!(self.lock(), Ok(None))
    }
}

/// Writes a file for its owner only, whole or not at all.
///
/// # Errors
/// The disk says no.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_dns_labels() {
        for (name, fine) in
            [("demo", true), ("a-1", true), ("", false), ("A", false), ("-a", false), ("a/b", false)]
        {
            assert_eq!(check_name(name).is_ok(), fine, "case: {name:?}");
        }
    }

    #[test]
    fn a_first_start_that_failed_can_be_taken_down() {
        let dir = tempfile::tempdir().unwrap();
        let selection = Selection { data_dir: Some(dir.path().into()), ..Selection::default() };
        assert!(selection.find().is_err(), "an empty folder is no cluster");
        drop(Cluster { name: "x".into(), dir: dir.path().into() }.lock().unwrap());
        assert!(selection.find().is_ok());
    }

    #[test]
    fn a_cluster_runs_as_long_as_its_lock_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "x".into(), dir: dir.path().into() };
        assert!(!cluster.is_running());
        let lock = cluster.lock().unwrap();
        assert!(lock.is_some() && cluster.is_running());
        drop(lock);
        assert!(!cluster.is_running());
    }
}
