//! `coracle node`: the nodes whose agents run on this machine.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::cluster::{NodeSpec, Selection};
use crate::control::{Order, Reply, ask};
use crate::print::say;
use crate::report::Report;
use crate::size::NodeSize;

/// List, add, stop, start and kill nodes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle node list
  coracle node add node-4 --size 4cpu,8Gi --zone b
  coracle node kill node-2     as a power cut: the agent and all its containers vanish
  coracle node start node-2    power is back")]
pub struct Node {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Show the nodes and whether their agents run
    #[command(after_help = "Example:\n  coracle node list")]
    List,
    /// Start one more node
    #[command(after_help = "Examples:
  coracle node add node-4 --size 4cpu,8Gi --zone b
  coracle node add gpu-1 --size 8cpu,16Gi --label gpu=yes --taint gpu=yes:NoSchedule")]
    Add {
        /// Its name
        node: String,
        /// What it offers
        #[arg(long, default_value_t)]
        size: NodeSize,
        /// Label topology.kubernetes.io/zone
        #[arg(long)]
        zone: Option<String>,
        /// More labels, as key=value
        #[arg(long = "label", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Taints, as key=value:Effect
        #[arg(long = "taint")]
        taints: Vec<String>,
    },
    /// End a node's agent; its containers go on
    #[command(
        after_help = "Example:\n  coracle node stop node-2     no word from it: its pods move after a while"
    )]
    Stop {
        /// Its name
        node: String,
    },
    /// Start the agent of a stopped or killed node
    #[command(after_help = "Example:\n  coracle node start node-2")]
    Start {
        /// Its name
        node: String,
    },
    /// Cut a node's power: its agent and all its containers vanish
    #[command(
        after_help = "Example:\n  coracle node kill node-2     watch with: coracle get pods -o wide -w"
    )]
    Kill {
        /// Its name
        node: String,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write a label as key=value")?;
    Ok((key.into(), value.into()))
}

impl Node {
    /// Runs the command.
    ///
    /// # Errors
    /// The cluster does not run, or says no.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = selection.find()?;
        let order = match self.verb {
            Verb::List => return list(&cluster).await,
            Verb::Add { node, size, zone, labels, taints } => {
                let labels = BTreeMap::from_iter(labels);
                let node = NodeSpec { zone, labels, taints, ..NodeSpec::new(&node, size) };
                node.check()?;
                Order::NodeAdd { node }
            }
            Verb::Stop { node } => Order::NodeStop { name: node },
            Verb::Start { node } => Order::NodeStart { name: node },
            Verb::Kill { node } => Order::NodeKill { name: node },
        };
        if let Reply::Done(text) = ask(&cluster, order).await? {
            Report::new().done(text);
        }
        Ok(())
    }
}

async fn list(cluster: &crate::cluster::Cluster) -> Result<()> {
    let agents = match ask(cluster, Order::Status).await {
        Ok(Reply::Status(running)) => running.agents,
        _ => Vec::new(),
    };
    let Some(spec) = cluster.spec()? else { return Ok(()) };
    say!("{:<24} {:<18} {:<10} AGENT", "NODE", "SIZE", "ZONE");
    for node in spec.nodes {
        let state = match (agents.contains(&node.name), node.running) {
            (true, _) => "running",
            (false, true) => "down",
            (false, false) => "stopped",
        };
        say!(
            "{:<24} {:<18} {:<10} {state}",
            node.name,
            node.size.to_string(),
            node.zone.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}
