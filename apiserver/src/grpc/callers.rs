//! Who comes to the bus at all. A message is read whole before a service looks at who sends it, so this is told by the head alone.

use std::time::Duration;

use axum::body::Body;
use http::header::{AUTHORIZATION, HeaderName};
use http::{Request, Response};
use http_body_util::Limited;
use tonic::Status;

use super::caller;
use crate::auth::impersonate;

/// The one call of those who have no certificate yet.
const JOIN: &str = "/coracle.v1.Nodes/Join";
/// The most that it takes: a token, a name and a certificate request.
const JOIN_BYTES: usize = 64 << 10;

/// How long a stranger may take over that.
const JOIN_TIME: Duration = Duration::from_secs(60);

/// Has a service answer a request, if it lets the request pass.
pub async fn serve<F>(request: Request<Body>, service: impl FnOnce(Request<Body>) -> F) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let joins = request.uri().path() == JOIN;
    let request = match admit(request) {
        Ok(request) => request,
        Err(refused) => return refused.into_http(),
    };
    if !joins {
        return service(request).await;
    }
    let answer = tokio::time::timeout(JOIN_TIME, service(request)).await;
    answer.unwrap_or_else(|_| Status::deadline_exceeded("nothing was sent in time").into_http())
}

/// Lets a request pass.
///
/// # Errors
/// 401 in gRPC's words for somebody unknown who asks for anything but to join; 400 for credentials that components do not use and
/// that must not be passed over.
fn admit(request: Request<Body>) -> Result<Request<Body>, Status> {
    let other = |name: &&HeaderName| **name == AUTHORIZATION || impersonate::is_meant(name);
    if let Some(name) = request.headers().keys().find(other) {
        return Err(Status::invalid_argument(format!(
            "{name} is not taken here: components show a certificate"
        )));
    }
    if request.uri().path() == JOIN {
        return Ok(request.map(|body| Body::new(Limited::new(body, JOIN_BYTES))));
    }
    caller(request.extensions()).map(|_| request)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::http::connection::{Connection, Peer};
    use crate::identity::Identity;

    #[test]
    fn strangers_only_join_and_nobody_asks_in_another_name() {
        let node = Peer::Known(Identity::new("system:node:n", &["system:nodes"]).into());
        let (write, connect) = ("/coracle.v1.Objects/Write", "/coracle.v1.Nodes/Connect");
        for (peer, path, header, expected) in [
            (Peer::Unknown, JOIN, None, None),
            (Peer::Unknown, write, None, Some(Code::Unauthenticated)),
            (Peer::Unknown, connect, None, Some(Code::Unauthenticated)),
            (Peer::Unknown, "/coracle.v1.Nodes/join", None, Some(Code::Unauthenticated)),
            (Peer::Unreadable, write, None, Some(Code::Unauthenticated)),
            (node.clone(), write, None, None),
            (node.clone(), connect, None, None),
            (node.clone(), write, Some("impersonate-user"), Some(Code::InvalidArgument)),
            (node.clone(), write, Some("impersonate-extra-x"), Some(Code::InvalidArgument)),
            (node, write, Some("authorization"), Some(Code::InvalidArgument)),
        ] {
            let mut request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(Connection { peer, ..Connection::default() });
            if let Some(name) = header {
                request.headers_mut().insert(name, "bob".parse().unwrap());
            }
            let refused = admit(request).err().map(|status| status.code());
            assert_eq!(refused, expected, "{path} {header:?}");
        }
    }
}
