//! `coracle demo`: the guided tour.

mod meter;
mod tour;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use crate::cluster::{Cluster, Selection};
use crate::down;
use crate::report::Report;

/// Take the tour: start a cluster, deploy, update under load, break things, watch them heal, ask why.
///
/// Needs Docker and nothing else: the images are made from this very executable. Afterwards nothing is left.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle demo           the tour, in about a minute
  coracle demo --keep    leave the cluster for you to play with")]
pub struct Demo {
    /// Leave the cluster running at the end
    #[arg(long)]
    pub keep: bool,
}

/// The cluster of the tour, where no other name is given.
const NAME: &str = "tour";

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// A step does not come to its end; the cluster goes down all the same.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let mut selection = selection.clone();
        if selection.name.is_none() && selection.data_dir.is_none() {
            selection.name = Some(NAME.into());
        }
        let cluster = selection.to_make()?;
        let report = Report::new();
        let started = Instant::now();
        make_way(&cluster, report).await?;
        let outcome = tokio::select! {
            outcome = tour::take(&cluster, &selection, report) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        };
        if let Err(error) = &outcome {
            report.failed(format!("{error:#}"));
        }
        if self.keep {
            // From now on it is the user's: the next tour must not take it away.
            std::fs::remove_file(cluster.tour_mark()).context("cannot unmark the cluster")?;
            report.title("The cluster stays");
            report
                .note(format!("coracle --name {} get pods    coracle --name {0} down --purge", cluster.name));
        } else {
            report.title("Down: everything that was made is removed");
            down::end(&cluster, true, report).await?;
        }
        outcome?;
        report.title(format!("The tour took {}.", crate::report::human(started.elapsed())));
        Ok(())
    }
}

/// Takes away what an earlier tour has left behind, and nothing else; marks the folder as this tour's.
async fn make_way(cluster: &Cluster, report: Report) -> Result<()> {
    if cluster.tour_mark().exists() {
        report.title(format!("Cluster {} is left from an interrupted tour: taking it down", cluster.name));
        down::end(cluster, true, report).await?;
    } else if cluster.is_there() {
        bail!(
            "cluster {0} is there, and no tour will take it away; `coracle down --name {0} --purge` does, or take the \
             tour beside it: coracle demo --name NAME",
            cluster.name
        );
    }
    cluster.make_dir()?;
    std::fs::write(cluster.tour_mark(), "").context("cannot mark the tour's cluster")
}

/// A client of the tour's cluster.
async fn connect(cluster: &Cluster) -> Result<kube::Client> {
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Whether a pod's condition `Ready` is true.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a node's condition `Ready` is true.
fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Waits until the pods with these labels are as `wanted` says, by looking again at each change of theirs.
async fn wait_pods(
    pods: &Api<Pod>,
    labels: &str,
    within: Duration,
    what: &str,
    wanted: impl Fn(&[Pod]) -> bool,
) -> Result<Vec<Pod>> {
    use futures::TryStreamExt;
    let deadline = tokio::time::Instant::now() + within;
    let mut last = String::new();
    loop {
        let list = pods.list(&kube::api::ListParams::default().labels(labels)).await?;
        if wanted(&list.items) {
            return Ok(list.items);
        }
        last.clear();
        for pod in &list.items {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("-");
            last += &format!(" {} ({phase}, ready: {})", kube::ResourceExt::name_any(pod), is_ready(pod));
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = kube::api::WatchParams::default().labels(labels).timeout(30);
        let next = async {
            let stream = pods.watch(&params, &version).await?;
            std::pin::pin!(stream).try_next().await
        };
        match tokio::time::timeout_at(deadline, next).await {
            Ok(event) => event.context("while following the pods")?,
            Err(_) => bail!("{what}: not after {} s; now there are{last}", within.as_secs()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tour_takes_only_a_tours_cluster_away() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "mine".into(), dir: dir.path().join("mine") };
        cluster.make_dir().unwrap();
        drop(cluster.lock().unwrap());
        let refused = make_way(&cluster, Report::new()).await.unwrap_err().to_string();
        assert!(refused.contains("coracle down --name mine --purge"), "{refused}");
        assert!(cluster.is_there() && !cluster.tour_mark().exists());

        let fresh = Cluster { name: "tour".into(), dir: dir.path().join("tour") };
        make_way(&fresh, Report::new()).await.unwrap();
        assert!(fresh.tour_mark().exists(), "so that a tour that is interrupted is known by the next");
    }
}
