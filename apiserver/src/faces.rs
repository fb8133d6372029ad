//! All faces on one port: components speak gRPC to paths of their own, everybody else meets REST.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use coracle_client::Client;
use http::{Method, Request, Response, header};
use hyper::body::Body as _;
use tonic::codegen::Service;
use tonic::server::NamedService;

use crate::grpc::{self, callers};
use crate::identity::{Identity, field_manager_of};
use crate::lines::service;
use crate::local::LocalClient;
use crate::peers;
use crate::pki::Pki;
use crate::rest::app::App;
use crate::rest::handle;

/// Where each request goes. Cheap to clone.
#[derive(Clone)]
pub struct Faces(Arc<Inner>);

struct Inner {
    rest: Arc<App>,
    objects: Objects,
    nodes: Nodes,
    peers: Peers,
}

type Objects = coracle_proto::v1::objects_server::ObjectsServer<grpc::Face>;
type Nodes = coracle_proto::v1::nodes_server::NodesServer<service::Face>;
type Peers = coracle_proto::v1::peers_server::PeersServer<peers::service::Face>;

impl Faces {
    /// REST, and beside it the bus on the same registry.
    pub fn new(rest: App, pki: Arc<Pki>) -> Faces {
        let App { registry, verdicts, lines, authorizer, .. } = &rest;
        let nodes = service::nodes(lines.clone(), pki, authorizer.clone(), registry.clone());
        let peers = peers::service::peers(lines.clone(), verdicts.clone());
        let (registry, verdicts, authorizer) = (registry.clone(), verdicts.clone(), authorizer.clone());
        let make_client = Arc::new(move |user: Arc<Identity>| {
            let user_agent = field_manager_of(&user);
            let client =
                LocalClient::new(registry.clone(), verdicts.clone(), authorizer.clone(), user, user_agent);
            Arc::new(client) as Arc<dyn Client>
        });
        Faces(Arc::new(Inner { objects: grpc::objects(make_client), nodes, peers, rest: Arc::new(rest) }))
    }

    /// Answers a request, which carries its connection among its extensions.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let Inner { rest, objects, nodes, peers } = &*self.0;
        let is_head = request.method() == Method::HEAD;
        let response = match service_of(request.uri().path()) {
            Some(Objects::NAME) => callers::serve(request, |request| call(objects, request)).await,
            Some(Nodes::NAME) => callers::serve(request, |request| call(nodes, request)).await,
            Some(Peers::NAME) => callers::serve(request, |request| call(peers, request)).await,
            _ => handle::handle(rest, request).await,
        };
        if is_head { headed(response) } else { response }
    }
}

/// The service of a path of gRPC: `/SERVICE/METHOD`.
fn service_of(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!method.is_empty() && !method.contains('/')).then_some(service)
}

/// Hands a request to a service of gRPC, which reports failures in its answers.
async fn call<S>(service: &S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<tonic::body::Body>, Error = Infallible> + Clone,
{
    match service.clone().call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The answer to HEAD: what GET would answer, without the body, but with its length.
fn headed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(parts, Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_has_its_own_paths_and_nothing_else() {
        let cases = [
            ("/coracle.v1.Objects/Write", Some(Objects::NAME)),
            ("/coracle.v1.Nodes/Join", Some(Nodes::NAME)),
            ("/coracle.v1.Peers/Open", Some(Peers::NAME)),
            ("/coracle.v1.Objects/", None),
            ("/coracle.v1.Objects/Write/", None),
            ("/coracle.v1.Objects", None),
            ("coracle.v1.Objects/Write", None),
            ("*", None),
            ("/", None),
            ("/api/v1", None),
            ("/apis/apps/v1", None),
            ("/healthz/etcd", None),
        ];
        let on_the_bus = [Objects::NAME, Nodes::NAME, Peers::NAME];
        for (path, expected) in cases {
            let service = service_of(path).filter(|service| on_the_bus.contains(service));
            assert_eq!(service, expected, "case: {path}");
        }
    }

    #[test]
    fn an_answer_to_head_tells_how_long_that_to_get_is() {
        let response = headed(Response::new(Body::from("abc")));
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "3");
        assert_eq!(response.into_body().size_hint().exact(), Some(0));
        let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, Infallible>>());
        assert!(headed(Response::new(endless)).headers().is_empty());
    }
}
