//! Both faces on one port: components speak gRPC to paths of their own, everybody else meets REST.

use std::sync::Arc;

use axum::{Router, middleware};
use coracle_client::Client;

use crate::auth::authorize::Authorizer;
use crate::grpc;
use crate::identity::Identity;
use crate::lines::{Lines, service};
use crate::local::LocalClient;
use crate::peers;
use crate::pki::Pki;
use crate::registry::Registry;
use crate::verdicts::Verdicts;

/// What components are called in `managedFields` that are none of upstream's.
const COMPONENT: &str = "coracle";

/// Puts gRPC beside REST.
pub fn with_bus(
    rest: Router,
    registry: Arc<Registry>,
    verdicts: Arc<Verdicts>,
    lines: Lines,
    pki: Arc<Pki>,
    authorizer: Authorizer,
) -> Router {
    let nodes = service::nodes(lines.clone(), pki, authorizer.clone(), registry.clone());
    let peers = peers::service::peers(lines, verdicts.clone());
    let make_client = Arc::new(move |user: Identity| {
        let agent = manager(&user);
        let client = LocalClient::new(registry.clone(), verdicts.clone(), authorizer.clone(), user, agent);
        Arc::new(client) as Arc<dyn Client>
    });
    let bus = Router::new()
        .route_service("/coracle.v1.Objects/{method}", grpc::objects(make_client))
        .route_service("/coracle.v1.Nodes/{method}", nodes)
        .route_service("/coracle.v1.Peers/{method}", peers)
        .route_layer(middleware::from_fn(grpc::callers::check));
    rest.merge(bus)
}

/// Under which name a component owns fields: upstream's.
pub(crate) fn manager(user: &Identity) -> &'static str {
    match user.user.as_str() {
        "system:kube-controller-manager" => "kube-controller-manager",
        "system:kube-scheduler" => "kube-scheduler",
        _ if user.node().is_some() => "kubelet",
        _ => COMPONENT,
    }
}
