//! `coracle up`: starts a cluster, or finds the one that runs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::cluster::{Cluster, Selection};
use crate::cluster_flags::ClusterFlags;
use crate::control::{self, Order};
use crate::progress::Progress;
use crate::report::{Report, counted, human};
use crate::{assembly, context, progress, run};

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
    /// The cluster
    #[command(flatten)]
    pub flags: ClusterFlags,
    /// Run here until Ctrl-C, instead of in the background
    #[arg(long)]
    pub foreground: bool,
    /// Leave the user's kubeconfig alone; DIR/kubeconfig is written all the same
    #[arg(long)]
    pub no_context: bool,
}

/// How long a start may take before `up` gives up: images are made and, after a crash, pods are found again.
const START_WITHIN: Duration = Duration::from_secs(90);

/// How long a cluster may hold its lock without answering.
const SETTLE_WITHIN: Duration = Duration::from_secs(15);

impl Up {
    /// Runs the command.
    ///
    /// # Errors
    /// The cluster does not come up; the text says why and where to look.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = selection.to_make()?;
        // Asked here, too, so that what is wrong is told here and not in a log, and before anything is made.
        assembly::check_runtime(&self.flags.spec(&cluster.name, cluster.spec()?)?).await?;
        cluster.make_dir()?;
        if self.foreground {
            let Some(lock) = cluster.lock()? else {
                bail!("cluster {} runs already; `coracle down --name {0}` ends it", cluster.name);
            };
            let spec = self.flags.spec(&cluster.name, cluster.spec()?)?;
            return run::run(cluster, spec, lock).await;
        }
        let report = Report::new();
        if runs_already(&cluster).await? {
            let kept = cluster.spec()?;
            if Some(&self.flags.spec(&cluster.name, kept.clone())?) != kept.as_ref() {
                bail!(
                    "cluster {0} runs, otherwise than asked for; `coracle down --name {0}`, then this again",
                    cluster.name
                );
            }
            report.done(format!("cluster {} runs already", cluster.name));
            return finish(&cluster, &self, report);
        }
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
    command.args(up.flags.arguments()?);
    // A group of its own: Ctrl-C in this terminal is not meant for the cluster.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .env(progress::DETACHED, "1");
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
                    let are = if count == 1 { "is" } else { "are" };
                    report.timed(format!("{} {are} Ready", counted(count, "node")), started.elapsed());
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
