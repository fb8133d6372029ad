//! A session with a container, from the order to the agent's first word.

use std::sync::Arc;

use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, Open, What};
use tokio_util::sync::CancellationToken;

use super::container::ContainerOnNode;
use super::{LineError, Lines};
use crate::identity::Identity;
use crate::peers::ask::Peers;
use crate::registry::Registry;

/// What sessions need.
#[derive(Clone)]
pub struct App {
    /// Finds pods and nodes.
    pub registry: Arc<Registry>,
    /// The way to the nodes.
    pub lines: Lines,
    /// The way to other servers, at which other nodes' lines end.
    pub peers: Peers,
    /// Ends long answers.
    pub stop: CancellationToken,
    /// Who asks.
    pub user: Arc<Identity>,
}

/// Whose share of the node's sessions this is; empty for nodes and components, which may have them all.
fn share_of(user: &Identity) -> String {
    let is_clusters = user.is_component() || user.node().is_some();
    if is_clusters { String::new() } else { user.user.clone() }
}

/// Opens a session and waits until the agent has found the container.
pub(super) async fn begin(app: &App, found: ContainerOnNode, what: What) -> Result<Duplex, Status> {
    let order = Open { what: Some(what), user: share_of(&app.user), ..found.order };
    let here = app.lines.open(&found.node, order.clone()).await;
    let session = match here {
        Ok(session) => Ok(session),
        // The agent may have dialled another server, and may not even have hung up here.
        Err(away) => app.peers.open(&found.node, order).await.map_err(|elsewhere| match elsewhere {
            LineError::NotConnected(_) => away,
            LineError::NoAnswer(_) => elsewhere,
        }),
    };
    let mut session = session.map_err(Status::internal)?;
    match session.receive.recv().await {
        Some(Frame::Accepted) => Ok(session),
        Some(Frame::Closed(Some(status))) => Err(*status),
        _ => Err(Status::internal(format!("the agent of node {:?} broke off", found.node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::NODES;

    #[test]
    fn people_and_workloads_have_a_share_and_the_cluster_has_none() {
        let cases = [
            (Identity::new("kubernetes-admin", &["system:masters"]), "kubernetes-admin"),
            (Identity::new("system:serviceaccount:ns:ci", &[]), "system:serviceaccount:ns:ci"),
            (Identity::new("system:node:n", &[]), "system:node:n"),
            (Identity::new("system:node:n", &[NODES]), ""),
            (Identity::new("system:kube-controller-manager", &[]), ""),
        ];
        for (user, expected) in cases {
            assert_eq!(share_of(&user), expected, "{user:?}");
        }
    }
}
