//! A cluster in one process: starts the parts, takes orders, and ends in good order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::assembly::{Agent, ControlPlane};
use crate::cluster::{Cluster, NodeSpec, Spec};
use crate::control::{self, Order, Ordered, Reply, Running};
use crate::progress::{DETACHED, Progress};

/// How long parts may take to end; they hold nothing that a SIGKILL would lose.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What became of an order.
enum Obeyed {
    /// It is done, or it is not.
    Now(Reply),
    /// It is done once this node is Ready.
    OnceReady(String),
}

/// A running cluster.
struct Host {
    cluster: Cluster,
    spec: Spec,
    plane: ControlPlane,
    agents: BTreeMap<String, Agent>,
}

/// Runs the cluster until it is told to stop. `_lock` is held all the while.
///
/// # Errors
/// A part does not start.
pub async fn run(cluster: Cluster, mut spec: Spec, _lock: File) -> Result<()> {
    let stop = CancellationToken::new();
    let detached = std::env::var_os(DETACHED).is_some();
    let outcome = async {
        let plane = ControlPlane::start(&cluster, &spec).await?;
        spec.port = plane.address().port();
        cluster.save(&spec)?;
        say(&Progress::Answers(plane.address().to_string()));
        let mut host = Host { cluster, spec, plane, agents: BTreeMap::new() };
        let (sink, orders) = mpsc::channel(16);
        control::listen(&host.cluster, sink, stop.clone())?;
        host.start_agents().await?;
        say(&Progress::Up);
        let served = host.serve(orders, detached).await;
        host.end().await;
        served
    }
    .await;
    stop.cancel();
    if let Err(error) = &outcome {
        let error: &anyhow::Error = error;
        say(&Progress::Failed(format!("{error:#}")));
    }
    outcome
}

/// Tells the waiting `up`. It stops listening once all is up, so a failure to write is none.
fn say(progress: &Progress) {
    let mut out = std::io::stdout().lock();
    if let Ok(line) = serde_json::to_string(progress) {
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl Host {
    async fn start_agents(&mut self) -> Result<()> {
        if !self.spec.parts.agents {
            return Ok(());
        }
        let nodes: Vec<NodeSpec> = self.spec.nodes.iter().filter(|node| node.running).cloned().collect();
        for node in &nodes {
            let agent = Agent::start(&self.cluster, &self.spec, &self.plane, node)
                .with_context(|| format!("cannot start the agent of {}", node.name))?;
            self.agents.insert(node.name.clone(), agent);
        }
        let names: Vec<String> = self.agents.keys().cloned().collect();
        let count = names.len();
        self.plane.nodes_ready(names).await?;
        say(&Progress::NodesReady(count));
        Ok(())
    }

    async fn serve(&mut self, mut orders: mpsc::Receiver<Ordered>, detached: bool) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            let (order, back) = tokio::select! {
                Some(ordered) = orders.recv() => ordered,
                broken = self.plane.broken() => return Err(broken),
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => if detached { continue } else { return Ok(()) },
            };
            tracing::info!(?order, "order");
            let ending = matches!(order, Order::Stop);
            match self.obey(order).await {
                Ok(Obeyed::Now(reply)) => {
                    let _ = back.send(reply);
                }
                // A node may take its time, or never become Ready: other orders do not wait for it.
                Ok(Obeyed::OnceReady(name)) => {
                    let ready = self.plane.nodes_ready(vec![name.clone()]);
                    tokio::spawn(async move {
                        let done = ready.await.map(|()| Reply::Done(format!("{name} is Ready")));
                        let _ = back.send(done.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))));
                    });
                }
                Err(error) => {
                    let _ = back.send(Reply::Failed(format!("{error:#}")));
                }
            }
            if ending {
                return Ok(());
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<Obeyed> {
        let reply = match order {
            Order::Status => Reply::Status(Running {
                pid: std::process::id(),
                address: self.plane.address().to_string(),
                agents: self.agents.keys().cloned().collect(),
            }),
            Order::Stop => Reply::Done("ending".into()),
            Order::NodeAdd { node } => {
                node.check()?;
                if self.spec.nodes.iter().any(|known| known.name == node.name) {
                    bail!(
                        "there is a node {0:?} already; `coracle node start {0}` starts its agent",
                        node.name
                    );
                }
                let name = node.name.clone();
                self.spec.nodes.push(node);
                if let Err(error) = self.start_node(&name) {
                    self.spec.nodes.retain(|known| known.name != name);
                    if let Some(agent) = self.agents.remove(&name) {
                        agent.kill().await;
                    }
                    return Err(error);
                }
                return Ok(Obeyed::OnceReady(name));
            }
            Order::NodeStart { name } => {
                self.start_node(&name)?;
                return Ok(Obeyed::OnceReady(name));
            }
            Order::NodeStop { name } => {
                self.take_agent(&name)?.stop(END_WITHIN).await;
                self.set_running(&name, false)?;
                Reply::Done(format!("agent of {name} ended; its containers go on"))
            }
            Order::NodeKill { name } => {
                // The agent first, and at once: it must not see its containers go and report it.
                self.take_agent(&name)?.kill().await;
                let gone = self.plane.remove_containers(&self.cluster, &name).await?;
                self.set_running(&name, false)?;
                Reply::Done(format!("{name} lost power: its agent and {gone} containers are gone"))
            }
        };
        Ok(Obeyed::Now(reply))
    }

    fn start_node(&mut self, name: &str) -> Result<()> {
        if !self.spec.parts.agents {
            bail!("this cluster runs without agents");
        }
        if self.agents.contains_key(name) {
            bail!("the agent of {name} runs already");
        }
        let node = self.node(name)?.clone();
        let agent = Agent::start(&self.cluster, &self.spec, &self.plane, &node)?;
        self.agents.insert(name.into(), agent);
        self.set_running(name, true)
    }

    fn take_agent(&mut self, name: &str) -> Result<Agent> {
        self.node(name)?;
        self.agents.remove(name).with_context(|| format!("the agent of {name} does not run"))
    }

    fn node(&mut self, name: &str) -> Result<&mut NodeSpec> {
        let known = self.spec.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        self.spec
            .nodes
            .iter_mut()
            .find(|node| node.name == name)
            .with_context(|| format!("there is no node {name:?}; there are {known}"))
    }

    fn set_running(&mut self, name: &str, running: bool) -> Result<()> {
        self.node(name)?.running = running;
        self.cluster.save(&self.spec)
    }

    async fn end(self) {
        let stops = self.agents.into_values().map(|agent| agent.stop(END_WITHIN));
        futures::future::join_all(stops).await;
        self.plane.stop(END_WITHIN).await;
        let _ = std::fs::remove_file(self.cluster.control_socket());
    }
}
