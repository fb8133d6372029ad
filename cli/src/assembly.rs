//! Puts components together into the processes that `coracle` starts: their settings, credentials and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_agent::AgentConfig;
use coracle_agent::labels::{Mark, Owner};
use coracle_agent::runtime::Runtime as _;
use coracle_api::{Object, kinds};
use coracle_apiserver::{Config, Server};
use coracle_client::grpc::Grpc;
use coracle_client::kubeconfig::Credentials;
use coracle_client::line::GrpcLines;
use coracle_client::{Client, Clock, Event, Interest, Running, Typed as _};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, NodeSpec, Runtime, Selection, Spec, Timing, ZONE};
use crate::report::counted;
use crate::server::connection::{Connection, Target};

/// How long nodes may take to become Ready: after a crash they find their pods again first.
const READY_WITHIN: Duration = Duration::from_secs(60);

type SomeRuntime = Arc<dyn coracle_agent::runtime::Runtime>;

/// How long a simulated container takes to start.
const SIMULATED_START: Duration = Duration::from_millis(20);

async fn runtime(which: Runtime) -> Result<SomeRuntime> {
    Ok(match which {
        Runtime::Docker => Arc::new(coracle_agent::docker::connect().await?),
        Runtime::Sim => {
            Arc::new(coracle_agent::runtime::sim::SimRuntime::new(Clock::system(), SIMULATED_START))
        }
    })
}

/// API server, controllers and scheduler of a running cluster.
pub struct ControlPlane {
    server: Server,
    client: Arc<dyn Client>,
    /// What the agents run containers on; `None` without agents.
    runtime: Option<SomeRuntime>,
    stop: CancellationToken,
    parts: Vec<(&'static str, JoinHandle<()>)>,
}

impl ControlPlane {
    /// Starts them; returns when the API server answers.
    pub async fn start(cluster: &Cluster, spec: &Spec) -> Result<ControlPlane> {
        let listen = SocketAddr::from(([127, 0, 0, 1], spec.port));
        let server = start_server(cluster, listen, spec.anonymous_auth, spec.event_ttl).await?;
        let runtime = if spec.parts.agents { Some(runtime(spec.runtime).await?) } else { None };
        let client = server.client("system:coracle-up", &["system:masters", "system:authenticated"]);
        if let Some(runtime) = &runtime {
            // Once, before the agents look for it all at the same time.
            let mark = Mark::new(&cluster.name, Some(server.pki().ca()));
            let names: Vec<String> = spec.nodes.iter().map(|node| node.name.clone()).collect();
            coracle_agent::prepare_network(client.as_ref(), runtime.as_ref(), &mark, &names).await?;
        }
        let clock = Clock::system();
        let stop = CancellationToken::new();
        let mut parts = Vec::new();
        if spec.parts.controllers {
            let client = server.client("system:kube-controller-manager", &["system:authenticated"]);
            let config = coracle_controllers::Config {
                timing: controllers_timing(spec.timing),
                ca_pem: server.pki().ca().to_owned(),
            };
            let controllers = coracle_controllers::start(client, config, clock.clone(), stop.clone());
            server.checks().ready("controllers", move || controllers.informers.health());
            parts.push(("controllers", controllers.task));
        }
        if spec.parts.scheduler {
            let client = server.client("system:kube-scheduler", &["system:authenticated"]);
            let scheduler = coracle_scheduler::start(client, &spec.scheduler, clock.clone(), stop.clone())?;
            server.checks().ready("scheduler", move || scheduler.informers.health());
            parts.push(("scheduler", scheduler.task));
        }
        Ok(ControlPlane { server, client, runtime, stop, parts })
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Comes back only if a part without which there is no cluster has broken.
    pub async fn broken(&self) -> anyhow::Error {
        store_broken(&self.server.broken().await)
    }

    /// Waits until all of these nodes are Ready. Holds nothing of `self` while it waits.
    pub fn nodes_ready(&self, names: Vec<String>) -> impl Future<Output = Result<()>> + Send + use<> {
        let client = self.client.clone();
        async move {
            match tokio::time::timeout(READY_WITHIN, see_ready(client.as_ref(), &names)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    bail!("not all of {} are Ready after {} s", names.join(", "), READY_WITHIN.as_secs())
                }
            }
        }
    }

    /// Removes every container of a node and the files of its pods.
    pub async fn remove_containers(&self, cluster: &Cluster, node: &str) -> Result<usize> {
        let roots = [node_root(cluster, node)];
        let Some(runtime) = &self.runtime else { return Ok(0) };
        let mark = Mark::new(&cluster.name, Some(self.server.pki().ca()));
        let removed = coracle_agent::cleanup(runtime.as_ref(), &mark, Some(node), &roots).await?;
        Ok(removed.containers)
    }

    /// Ends all parts.
    pub async fn stop(self, within: Duration) {
        self.stop.cancel();
        for (name, part) in self.parts {
            if tokio::time::timeout(within, part).await.is_err() {
                tracing::warn!(name, "did not end in time");
            }
        }
        if tokio::time::timeout(within, self.server.shutdown()).await.is_err() {
            tracing::warn!("the API server did not end in time");
        }
    }
}

/// Returns once all of these nodes have been seen Ready.
async fn see_ready(client: &dyn Client, names: &[String]) -> Result<()> {
    let (nodes, mut revision) = client.list(&Interest::all(&kinds::NODE)).await?;
    let mut missing: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    nodes.iter().filter(|node| is_ready(node)).for_each(|node| {
        missing.remove(node.key.name.as_str());
    });
    while !missing.is_empty() {
        let mut changes = client.watch(vec![Interest::all(&kinds::NODE)], revision).await?;
        while let (false, Some(Ok(event))) = (missing.is_empty(), changes.next().await) {
            revision = event.revision();
            if let Event::Added(node) | Event::Modified(node) = event
                && is_ready(&node)
            {
                missing.remove(node.key.name.as_str());
            }
        }
    }
    Ok(())
}

fn controllers_timing(timing: Timing) -> coracle_controllers::Timing {
    match timing {
        Timing::Demo => coracle_controllers::Timing::demo(),
        Timing::Kubernetes => coracle_controllers::Timing::kubernetes(),
    }
}

/// What is said when the process ends because of its store.
pub fn store_broken(why: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{why}; what was acknowledged is on disk: start again, and please report this with the log"
    )
}

/// Starts an API server in the cluster's folder, on a store of its own.
pub async fn start_server(
    cluster: &Cluster,
    listen: SocketAddr,
    anonymous_auth: bool,
    event_ttl: Duration,
) -> Result<Server> {
    let config = Config::new(&cluster.dir, listen);
    Ok(Server::start(Config { anonymous_auth, event_ttl, ..config }).await?)
}

/// A running agent.
pub struct Agent {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    /// Starts it; it registers its node by itself.
    pub fn start(cluster: &Cluster, spec: &Spec, plane: &ControlPlane, node: &NodeSpec) -> Result<Agent> {
        let Some(runtime) = plane.runtime.clone() else { bail!("this cluster runs without agents") };
        let config = AgentConfig {
            // By position in the list, so that agents that start together do not choose the same.
            slice: spec
                .nodes
                .iter()
                .position(|known| known.name == node.name)
                .and_then(|n| u16::try_from(n).ok()),
            api_server: Some((plane.address().ip(), plane.address().port())),
            ca: Some(plane.server.pki().ca().to_owned()),
            lines: Some(Arc::new(plane.server.lines())),
            ..agent_config(cluster, node, spec.timing, runtime)?
        };
        let user = format!("system:node:{}", node.name);
        let client = plane.server.client(&user, &["system:nodes", "system:authenticated"]);
        let stop = CancellationToken::new();
        let task = coracle_agent::start(client, config, Clock::system(), stop.clone());
        Ok(Agent { stop, task })
    }

    /// Ends it in good order; its containers go on.
    pub async fn stop(self, within: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(within, self.task).await.is_err() {
            tracing::warn!("an agent did not end in time");
        }
    }

    /// Ends it at once, with everything that it has begun; returns when that is so.
    pub async fn kill(self) {
        self.task.abort();
        self.stop.cancel();
        // An aborted task ends with an error that says so.
        let _ = self.task.await;
    }
}

/// What an agent has to be told, but for the way to the API server.
fn agent_config(
    cluster: &Cluster,
    node: &NodeSpec,
    timing: Timing,
    runtime: SomeRuntime,
) -> Result<AgentConfig> {
    let mut labels = node.labels.clone();
    if let Some(zone) = &node.zone {
        labels.insert(ZONE.into(), zone.clone());
    }
    Ok(AgentConfig {
        size: node.size.amounts()?,
        labels,
        taints: node.parsed_taints()?,
        timing: match timing {
            Timing::Demo => coracle_agent::Timing::demo(),
            Timing::Kubernetes => coracle_agent::Timing::kubernetes(),
        },
        ..AgentConfig::new(&cluster.name, &node.name, runtime, node_root(cluster, &node.name))
    })
}

/// Runs the agent of one node against an API server elsewhere, until `stop`.
pub async fn remote_agent(
    cluster: &Cluster,
    node: &NodeSpec,
    timing: Timing,
    which: Runtime,
    credentials: &Credentials,
    stop: CancellationToken,
) -> Result<()> {
    let channel = coracle_client::channel::channel(credentials)?;
    let config = AgentConfig {
        ca: Some(credentials.ca.clone()),
        lines: Some(Arc::new(GrpcLines::over(channel.clone()))),
        ..agent_config(cluster, node, timing, runtime(which).await?)?
    };
    let client = Arc::new(Grpc::over(channel));
    Ok(coracle_agent::start(client, config, Clock::system(), stop).await?)
}

/// Runs the controllers against an API server elsewhere, until `stop`.
pub fn remote_controllers(
    credentials: &Credentials,
    timing: Timing,
    stop: CancellationToken,
) -> Result<Running> {
    let config =
        coracle_controllers::Config { timing: controllers_timing(timing), ca_pem: credentials.ca.clone() };
    let client = Arc::new(Grpc::new(credentials)?);
    Ok(coracle_controllers::start(client, config, Clock::system(), stop))
}

/// Runs the scheduler against an API server elsewhere, until `stop`.
pub fn remote_scheduler(
    credentials: &Credentials,
    config: &coracle_scheduler::Config,
    stop: CancellationToken,
) -> Result<Running> {
    let client = Arc::new(Grpc::new(credentials)?);
    Ok(coracle_scheduler::start(client, config, Clock::system(), stop)?)
}

/// Where an agent keeps its pods' volumes.
fn node_root(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.dir.join("nodes").join(node)
}

fn is_ready(node: &Object) -> bool {
    let Ok(node) = Node::from_json(&node.json) else { return false };
    let conditions = node.status.into_iter().flat_map(|status| status.conditions.unwrap_or_default());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Removes everything that a cluster made, looks whether it is so, and says what it was.
pub async fn remove_everything(cluster: &Cluster) -> Result<String> {
    // What is to run is kept before anything is made on the engine.
    let Some(spec) = cluster.spec()? else { return Ok("it never ran: nothing was made".into()) };
    if spec.runtime == Runtime::Sim {
        return Ok("simulated pods have no files and no containers".into());
    }
    let roots: Vec<PathBuf> = spec.nodes.iter().map(|node| node_root(cluster, &node.name)).collect();
    let runtime = coracle_agent::docker::connect().await?;
    let mark = Mark::new(&cluster.name, cluster.authority()?.as_deref());
    let removed = match coracle_agent::cleanup(&runtime, &mark, None, &roots).await {
        Err(coracle_agent::runtime::Error::Foreign(name)) => {
            return Ok(format!("the containers of another cluster {name:?} on this engine are left alone"));
        }
        removed => removed.context("on the Docker Engine")?,
    };
    let everything = Owner { cluster: cluster.name.clone(), node: None };
    let left = runtime.containers(&everything).await?.len();
    anyhow::ensure!(left == 0, "of cluster {}: {} still there", cluster.name, counted(left, "container"));
    Ok(format!(
        "{}, {}, {} removed",
        counted(removed.containers, "container"),
        counted(removed.networks, "network"),
        counted(removed.volumes, "volume")
    ))
}

/// How long an engine may take to say that it is there.
const ENGINE_WITHIN: Duration = Duration::from_secs(10);

/// Whether what is to run the containers answers: asked before anything is made.
///
/// # Errors
/// It does not; the text says what to do.
pub async fn check_runtime(spec: &Spec) -> Result<()> {
    if spec.runtime != Runtime::Docker || !spec.parts.agents {
        return Ok(());
    }
    let answer = tokio::time::timeout(ENGINE_WITHIN, coracle_agent::docker::connect()).await;
    let outcome = answer.context("it does not answer").and_then(|connected| Ok(connected.map(drop)?));
    outcome.context("no Docker Engine can be used; start one, or do without: coracle up --runtime sim")
}

/// Kills a container, as `docker kill` does.
pub async fn kill_container(cluster: &str, pod_uid: &str, container: &str) -> Result<()> {
    let runtime = coracle_agent::docker::connect().await?;
    let owner = Owner { cluster: cluster.into(), node: None };
    let is_meant = |labels: &BTreeMap<String, String>| {
        labels.get(coracle_agent::labels::UID).is_some_and(|uid| uid == pod_uid)
            && labels.get(coracle_agent::labels::CONTAINER).is_some_and(|name| name == container)
    };
    let all = runtime.containers(&owner).await?;
    let victim = all.iter().find(|c| is_meant(&c.labels)).context("the container is not there")?;
    Ok(runtime.kill(&victim.id, "KILL").await?)
}

/// What `coracle why` prints.
pub async fn why(cluster: &Cluster, namespace: &str, pod: &str) -> Result<String> {
    crate::explain::why::text(&open(cluster).await?, namespace, pod).await
}

/// What `coracle trace` prints for a Deployment.
pub async fn trace(cluster: &Cluster, namespace: &str, deployment: &str) -> Result<String> {
    crate::explain::trace::text(&open(cluster).await?, namespace, "Deployment", deployment, false).await
}

async fn open(cluster: &Cluster) -> Result<Connection> {
    let target = Target { kubeconfig: Some(cluster.kubeconfig()), ..Target::default() };
    Connection::open(&Selection::default(), &target).await
}
