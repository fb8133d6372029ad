//! `coracle down`: ends a cluster and removes everything that it made, and looks whether that is so.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cluster::{Cluster, Selection};
use crate::control::{self, Order};
use crate::report::Report;
use crate::{assembly, context};

/// End a cluster: remove its containers, network, volumes and kubeconfig context.
///
/// The objects stay on disk, so that `coracle up` brings the same pods back, unless --purge is given.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle down                 the only running cluster; its objects stay for the next up
  coracle down --name demo --purge   also forget its objects, keys and log")]
pub struct Down {
    /// Forget the cluster's objects, keys and log, too
    #[arg(long)]
    pub purge: bool,
}

/// How long the cluster's process may take to end after it agreed to.
const END_WITHIN: Duration = Duration::from_secs(30);

impl Down {
    /// Runs the command.
    ///
    /// # Errors
    /// Something is left; the text says what.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = match selection.find() {
            Ok(cluster) => cluster,
            Err(nothing) => return forget(selection, Report::new()).unwrap_or(Err(nothing)),
        };
        end(&cluster, self.purge, Report::new()).await
    }
}

/// Takes away the context of a named cluster that is not there any more; `None` where there is no such context either.
fn forget(selection: &Selection, report: Report) -> Option<Result<()>> {
    selection.name.as_ref()?;
    let cluster = selection.to_make().ok().filter(|cluster| !cluster.is_there())?;
    match context::remove(&cluster) {
        Ok(false) => None,
        Ok(true) => {
            report.done(format!(
                "there is no cluster {:?} in {}; its context {} is gone from your kubeconfig",
                cluster.name,
                cluster.dir.display(),
                cluster.context()
            ));
            Some(Ok(()))
        }
        Err(error) => Some(Err(error)),
    }
}

/// Ends the cluster and proves that nothing of it is left.
///
/// # Errors
/// Something is left; the text says what.
pub async fn end(cluster: &Cluster, purge: bool, report: Report) -> Result<()> {
    let started = Instant::now();
    if cluster.is_running() {
        control::ask(cluster, Order::Stop).await?;
        wait_ended(cluster).await?;
        report.timed("the control plane and the agents have ended", started.elapsed());
    }
    let before = Instant::now();
    let removed = assembly::remove_everything(cluster).await?;
    report.timed(removed, before.elapsed());
    if context::remove(cluster)? {
        report.done(format!("context {} is gone from your kubeconfig", cluster.context()));
    }
    if purge {
        std::fs::remove_dir_all(&cluster.dir)
            .with_context(|| format!("cannot remove {}", cluster.dir.display()))?;
        report.done(format!("{} is gone", cluster.dir.display()));
    }
    report.done(format!("nothing of cluster {} is left", cluster.name));
    Ok(())
}

async fn wait_ended(cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + END_WITHIN;
    while cluster.is_running() {
        if Instant::now() > deadline {
            bail!("the cluster's process does not end; see {}", cluster.log().display());
        }
        // The kernel frees the lock when the process ends; there is no event to wait for.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
