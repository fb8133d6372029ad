//! `coracle demo`: the guided tour.

mod meter;
mod pods;
mod tour;

use std::time::Instant;

use anyhow::{Context, Result, bail};

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
