//! `coracle up`: starts a cluster, or finds the one that runs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::cluster::{Cluster, NodeSpec, Runtime, Selection, Spec, Timing};
use crate::control::{self, Order};
use crate::parts::Parts;
use crate::report::{Report, human};
use crate::size::NodeSize;
use crate::{context, run};

/// Start a cluster on this machine, or find the one that runs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle up                                  three nodes of 2 cpu and 2 Gi each
  coracle up --nodes 5 --node-size 4cpu,8Gi   five larger ones
  coracle up --config cluster.yaml            nodes with sizes, zones, labels and taints of their own
  coracle up --runtime sim --nodes 100        no Docker needed: containers are simulated
  coracle up --parts apiserver                just an API server, to test a client against

A cluster file:
  nodes:
  - {name: small, size: '2cpu,2Gi', zone: a}
  - {name: big, size: '8cpu,16Gi', zone: b, labels: {disk: ssd}, taints: ['gpu=yes:NoSchedule']}
  scheduler:
    profile: spread          # bin-pack, spread or balanced, or one of your own below `profiles`")]
pub struct Up {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_name = "K", conflicts_with = "config")]
    pub nodes: u32,
    /// What each node offers
    #[arg(long, default_value_t, value_name = "SIZE", conflicts_with = "config")]
    pub node_size: NodeSize,
    /// A file that describes the nodes one by one, and how the scheduler chooses among them
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What runs the containers
    #[arg(long, value_enum, default_value_t)]
    pub runtime: Runtime,
    /// How fast the cluster notices and reacts
    #[arg(long, value_enum, default_value_t)]
    pub timing: Timing,
    /// Port of the API server on 127.0.0.1; 0 chooses one, which the cluster then keeps
    #[arg(long, default_value_t = 0, value_name = "P")]
    pub port: u16,
    /// Which components to start: apiserver, controllers, scheduler, agents
    #[arg(long, default_value = "all", value_name = "LIST")]
    pub parts: Parts,
    /// Let requests without credentials in as system:anonymous, who may do next to nothing, instead of answering 401
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// Run here until Ctrl-C, instead of in the background
    #[arg(long)]
    pub foreground: bool,
    /// Leave the user's kubeconfig alone; DIR/kubeconfig is written all the same
    #[arg(long)]
    pub no_context: bool,
}

/// A cluster file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
    nodes: Vec<NodeSpec>,
    #[serde(default)]
    scheduler: coracle_scheduler::Config,
}

/// A line that the starting cluster prints for the `up` that waits for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// The API server answers at this address.
    Answers(String),
    /// This many nodes are Ready.
    NodesReady(usize),
    /// All is up; nothing more will be said.
    Up,
    /// It will not come up.
    Failed(String),
}

/// How long a start may take before `up` gives up: images are made and, after a crash, pods are found again.
const START_WITHIN: Duration = Duration::from_secs(90);

/// How long a cluster may hold its lock without answering.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

impl Up {
    /// What is to run: what an earlier `up` asked for, or what this one asks for where it is the first.
    fn spec(&self, cluster: &Cluster) -> Result<Spec> {
        if let Some(mut spec) = cluster.spec()? {
            if self.port != 0 {
                spec.port = self.port;
            }
            spec.parts = self.parts;
            if let Some(file) = &self.config {
                // Nodes come and go with `coracle node`; the policy is whatever the file says now.
                spec.scheduler = ClusterFile::read(file)?.scheduler;
            }
            spec.anonymous_auth = self.anonymous_auth.unwrap_or(spec.anonymous_auth);
            return Ok(spec);
        }
        let ClusterFile { nodes, scheduler } = match &self.config {
            Some(file) => ClusterFile::read(file)?,
            None => {
                ClusterFile { nodes: self.equal_nodes(), scheduler: coracle_scheduler::Config::default() }
            }
        };
        Ok(Spec {
            name: cluster.name.clone(),
            port: self.port,
            runtime: self.runtime,
            timing: self.timing,
            parts: self.parts,
            anonymous_auth: self.anonymous_auth.unwrap_or(false),
            nodes,
            scheduler,
        })
    }

    /// `node-1`, `node-2` and so on, all of one size.
    fn equal_nodes(&self) -> Vec<NodeSpec> {
        (1..=self.nodes)
            .map(|number| NodeSpec {
                name: format!("node-{number}"),
                size: self.node_size.clone(),
                zone: None,
                labels: Default::default(),
                taints: Vec::new(),
                running: true,
            })
            .collect()
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The cluster does not come up; the text says why and where to look.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = selection.to_make()?;
        cluster.make_dir()?;
        if self.foreground {
            let Some(lock) = cluster.lock()? else {
                bail!("cluster {} runs already; `coracle down --name {0}` ends it", cluster.name);
            };
            let spec = self.spec(&cluster)?;
            return run::run(cluster, spec, lock).await;
        }
        let report = Report::new();
        if runs_already(&cluster).await? {
            report.done(format!("cluster {} runs already", cluster.name));
            return finish(&cluster, &self, report);
        }
        // Read here, too, so that a wrong file is told here and not in a log.
        self.spec(&cluster)?;
        start_detached(&cluster, &self, report).await?;
        finish(&cluster, &self, report)
    }
}

/// Whether the cluster runs and takes orders. One that holds its lock and does not answer is just starting, or its process
/// is just ending: the kernel takes a moment to free a killed process's lock.
async fn runs_already(cluster: &Cluster) -> Result<bool> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    while cluster.is_running() {
        if control::ask(cluster, Order::Status).await.is_ok() {
            return Ok(true);
        }
        if Instant::now() > deadline {
            bail!("cluster {} neither answers nor ends; see {}", cluster.name, cluster.log().display());
        }
        // Neither the lock nor the socket tells when it changes.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}

impl ClusterFile {
    fn read(file: &std::path::Path) -> Result<ClusterFile> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed: ClusterFile =
            serde_saphyr::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        let mut names: Vec<&str> = parsed.nodes.iter().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("{}: two nodes are called {:?}", file.display(), twice[0]);
        }
        // Asked here, so that a policy that does not exist is told before anything starts.
        parsed.scheduler.chosen().with_context(|| format!("in {}", file.display()))?;
        Ok(parsed)
    }
}

/// Starts this same executable in the background and tells what it says until it is up.
async fn start_detached(cluster: &Cluster, up: &Up, report: Report) -> Result<()> {
    let started = Instant::now();
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(cluster.log())
        .with_context(|| format!("cannot write {}", cluster.log().display()))?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command
        .arg("up")
        .arg("--foreground")
        .arg("--name")
        .arg(&cluster.name)
        .arg("--data-dir")
        .arg(&cluster.dir);
    command.arg("--port").arg(up.port.to_string());
    command.arg("--runtime").arg(clap_name(up.runtime)).arg("--timing").arg(clap_name(up.timing));
    command.arg("--parts").arg(up.parts.to_string());
    if let Some(anonymous) = up.anonymous_auth {
        command.arg(format!("--anonymous-auth={anonymous}"));
    }
    match &up.config {
        Some(file) => command.arg("--config").arg(std::path::absolute(file)?),
        None => {
            command.arg("--nodes").arg(up.nodes.to_string()).arg("--node-size").arg(up.node_size.to_string())
        }
    };
    // A group of its own: Ctrl-C in this terminal is not meant for the cluster.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0).env(run::DETACHED, "1");
    let mut child = command.spawn().context("cannot start the cluster's process")?;
    let stdout = child.stdout.take().context("the cluster's process has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let heard = tokio::time::timeout(START_WITHIN, async {
        while let Some(line) = lines.next_line().await? {
            match serde_json::from_str(&line) {
                Ok(Progress::Answers(address)) => {
                    report.timed(format!("API server answers at https://{address}"), started.elapsed());
                }
                Ok(Progress::NodesReady(count)) => {
                    report.timed(format!("{count} nodes are Ready"), started.elapsed());
                }
                Ok(Progress::Up) => return Ok(()),
                Ok(Progress::Failed(why)) => bail!("{why}\n(the log is {})", cluster.log().display()),
                Err(_) => tracing::debug!(line, "unexpected output"),
            }
        }
        bail!("the cluster's process ended; see {}", cluster.log().display())
    });
    match heard.await {
        Ok(outcome) => outcome,
        Err(_) => {
            let _ = child.start_kill();
            bail!("not up after {}; see {}", human(START_WITHIN), cluster.log().display())
        }
    }
}

fn clap_name<T: clap::ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

fn finish(cluster: &Cluster, up: &Up, report: Report) -> Result<()> {
    if up.no_context {
        report.done(format!("kubeconfig: {}", cluster.kubeconfig().display()));
        return Ok(());
    }
    match context::add(cluster) {
        Ok(Some(file)) => report.done(format!("context {} is in {}", cluster.context(), file.display())),
        Ok(None) => {
            report.note(format!("no kubeconfig of yours was found; use {}", cluster.kubeconfig().display()))
        }
        // Somebody else's broken kubeconfig is no reason to fail.
        Err(error) => {
            report.failed(format!("{error:#}; use --kubeconfig {}", cluster.kubeconfig().display()));
        }
    }
    report.note("next: coracle get nodes    kubectl get nodes    coracle down");
    Ok(())
}

#[cfg(test)]
mod tests {
<<<<<<< HEAD
    use super::*;

    #[test]
    fn cluster_files_are_read_whole_or_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let read = |text: &str| {
            let file = folder.path().join("cluster.yaml");
            std::fs::write(&file, text).expect("written");
            ClusterFile::read(&file).map_err(|error| format!("{error:#}"))
        };
        let good = read("nodes: [{name: a, size: '1cpu,1Gi'}, {name: b}]\nscheduler: {profile: spread}\n");
        let good = good.expect("a cluster");
        assert_eq!((good.nodes.len(), good.scheduler.profile.as_str()), (2, "spread"));
        assert_eq!(read("nodes: [{name: a}]").expect("a cluster").scheduler.profile, "bin-pack");
        for (text, words) in [
            ("nodes: [{name: a}, {name: a}]", "two nodes are called \"a\""),
            ("nodes: [{name: a}]\nscheduler: {profile: tight}", "there are bin-pack, spread, balanced"),
            ("nodes: [{name: a, colour: red}]", "colour"),
            ("nodes: 3", "cluster.yaml"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(error.contains(words), "case {text:?}: {error}");
        }
=======
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Up,
    }

    #[test]
    fn who_may_come_in_is_remembered_until_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "c".into(), dir: dir.path().into() };
        let spec = |flags: &[&str]| Line::parse_from([&["up"], flags].concat()).up.spec(&cluster).unwrap();
        assert!(!spec(&[]).anonymous_auth);
        assert!(!spec(&["--anonymous-auth=false"]).anonymous_auth);
        assert!(spec(&["--anonymous-auth"]).anonymous_auth);
        cluster.save(&spec(&["--anonymous-auth=true"])).unwrap();
        assert!(spec(&[]).anonymous_auth);
        assert!(!spec(&["--anonymous-auth=false"]).anonymous_auth);
    }
}
