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

/// Opens a session and waits until the agent has found the container.
pub(super) async fn begin(app: &App, found: ContainerOnNode, what: What) -> Result<Duplex, Status> {
    let order = Open { what: Some(what), ..found.order };
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
