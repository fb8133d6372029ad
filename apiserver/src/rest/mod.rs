//! The face for people and their tools: HTTPS, as Kubernetes speaks it.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;

/// Everything that is served over HTTP.
pub fn router(_registry: Arc<Registry>, _stop: CancellationToken) -> Router {
    Router::new()
}
