//! Where components are put together: the only file here that knows them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use coracle_apiserver::{Config, Server};
use coracle_client::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, NodeSpec, Spec, Timing};

/// API server, controllers and scheduler of a running cluster.
pub struct ControlPlane {
    server: Server,
    stop: CancellationToken,
    parts: Vec<(&'static str, JoinHandle<()>)>,
}

impl ControlPlane {
    /// Starts them; returns when the API server answers.
    pub async fn start(cluster: &Cluster, spec: &Spec) -> Result<ControlPlane> {
        let server = start_server(cluster, SocketAddr::from(([127, 0, 0, 1], spec.port))).await?;
        let clock = Clock::system();
        let stop = CancellationToken::new();
        let mut parts = Vec::new();
        if spec.parts.controllers {
            let client = server.client("system:kube-controller-manager", &["system:authenticated"]);
            let config = coracle_controllers::Config {
                timing: controllers_timing(spec.timing),
                ca_pem: server.pki().ca().to_owned(),
            };
            parts.push((
                "controllers",
                coracle_controllers::start(client, config, clock.clone(), stop.clone()),
            ));
        }
        if spec.parts.scheduler {
            let client = server.client("system:kube-scheduler", &["system:authenticated"]);
            let config = coracle_scheduler::Config::default();
            parts
                .push(("scheduler", coracle_scheduler::start(client, &config, clock.clone(), stop.clone())?));
        }
        Ok(ControlPlane { server, stop, parts })
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits until all of these nodes are Ready.
    pub async fn wait_nodes_ready(&self, _names: &[String]) -> Result<()> {
        Ok(())
    }

    /// Removes every container of a node.
    pub async fn remove_containers(&self, _cluster: &Cluster, _node: Option<&str>) -> Result<usize> {
        Ok(0)
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

fn controllers_timing(timing: Timing) -> coracle_controllers::Timing {
    match timing {
        Timing::Demo => coracle_controllers::Timing::demo(),
        Timing::Kubernetes => coracle_controllers::Timing::kubernetes(),
    }
}

/// Starts an API server in the cluster's folder.
pub async fn start_server(cluster: &Cluster, listen: SocketAddr) -> Result<Server> {
    Ok(Server::start(Config::new(&cluster.dir, listen)).await?)
}

/// A running agent.
pub struct Agent {}

impl Agent {
    /// Starts it.
    pub async fn start(_: &Cluster, _: &Spec, _: &ControlPlane, _: &NodeSpec) -> Result<Agent> {
        bail!("the components are not wired yet")
    }

    /// Ends it in good order; its containers go on.
    pub async fn stop(self, _within: Duration) {}

    /// Ends it at once.
    pub fn kill(self) {}
}

/// Removes everything that a cluster made on the engine, and looks whether it is so.
pub async fn remove_everything(_cluster: &str) -> Result<String> {
    bail!("the components are not wired yet")
}

/// Kills a container, as `docker kill` does.
pub async fn kill_container(_cluster: &str, _pod_uid: &str, _container: &str) -> Result<()> {
    bail!("the components are not wired yet")
}

/// What `coracle why` prints.
pub async fn why(_cluster: &Cluster, _namespace: &str, _pod: &str) -> Result<String> {
    bail!("the components are not wired yet")
}

/// What `coracle trace` prints.
pub async fn trace(_cluster: &Cluster, _namespace: &str, _target: &str) -> Result<String> {
    bail!("the components are not wired yet")
}
