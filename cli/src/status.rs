//! `coracle status`: every cluster on this machine, or one of them closely.

use anyhow::Result;

use crate::cluster::{Cluster, Selection};
use crate::control::{Order, Reply, ask};
use crate::print::say;

/// Show the clusters on this machine and whether they run. A busy one is starting, ending, or too loaded to answer.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle status              every cluster on this machine
  coracle --name demo status  one of them")]
pub struct StatusArgs {}

impl StatusArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The clusters' folder cannot be read.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let clusters = if selection.name.is_some() || selection.data_dir.is_some() {
            vec![selection.find()?]
        } else {
            Cluster::all()?
        };
        if clusters.is_empty() {
            say!("there is no cluster; `coracle up` makes one");
            return Ok(());
        }
        say!(
            "{:<16} {:<9} {:<22} {:>6} {:>8} {:>10}",
            "CLUSTER",
            "STATE",
            "API SERVER",
            "NODES",
            "PID",
            "MEMORY"
        );
        for cluster in clusters {
            let nodes = cluster.spec()?.map_or(0, |spec| spec.nodes.len());
            let (state, address, pid, memory) = match ask(&cluster, Order::Status).await {
                Ok(Reply::Status(running)) => {
                    ("running", running.address, running.pid.to_string(), resident(running.pid))
                }
                _ if cluster.is_running() => ("busy", "-".into(), "-".into(), None),
                _ => ("stopped", "-".into(), "-".into(), None),
            };
            let memory = memory.map_or("-".into(), |kib| format!("{:.1} MB", kib as f64 / 1024.0));
            say!("{:<16} {state:<9} {address:<22} {nodes:>6} {pid:>8} {memory:>10}", cluster.name);
        }
        Ok(())
    }
}

/// Resident memory of a process in KiB, as the kernel tells.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
