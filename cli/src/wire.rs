//! Where components are put together: the only file here that knows them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cluster::{Cluster, NodeSpec, Spec};

/// API server, controllers and scheduler of a running cluster.
pub struct ControlPlane {
    address: SocketAddr,
}

impl ControlPlane {
    /// Starts them; returns when the API server answers.
    pub async fn start(_cluster: &Cluster, _spec: &Spec) -> Result<ControlPlane> {
        bail!("the components are not wired yet")
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
    pub async fn stop(self, _within: Duration) {}
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
