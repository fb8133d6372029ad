//! A session with a container, from the order to the agent's first word.

use std::sync::Arc;

use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, Open, What};
use tokio_util::sync::CancellationToken;

use super::Lines;
use super::place::Place;
use crate::identity::Identity;
use crate::registry::Registry;

/// What sessions need.
#[derive(Clone)]
pub struct App {
    /// Finds pods and nodes.
    pub registry: Arc<Registry>,
    /// The way to the nodes.
    pub lines: Lines,
    /// Ends long answers.
    pub stop: CancellationToken,
    /// Who asks.
    pub user: Identity,
}

/// Opens a session and waits until the agent has found the container.
pub(super) async fn begin(app: &App, place: Place, what: What) -> Result<Duplex, Status> {
    let order = Open { what: Some(what), ..place.order };
    let mut session = app.lines.open(&place.node, order).await.map_err(Status::internal)?;
    match session.receive.recv().await {
        Some(Frame::Accepted) => Ok(session),
        Some(Frame::Closed(Some(status))) => Err(*status),
        _ => Err(Status::internal(format!("the agent of node {:?} broke off", place.node))),
    }
}
