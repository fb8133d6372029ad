//! What stands before every request over HTTP: who asks, may they, and then on with it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use coracle_api::Status;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::authorize::{attributes, authorize};
use super::{Authenticator, Peer};
use crate::identity::Identity;

/// Puts the guard before a router. Handlers find the caller's [`Identity`] among the request's extensions.
pub fn guard(router: Router, authenticator: Arc<Authenticator>) -> Router {
    router.layer(middleware::from_fn_with_state(authenticator, check))
}

async fn check(State(authenticator): State<Arc<Authenticator>>, mut request: Request, next: Next) -> Response {
    match identify(&authenticator, &request) {
        Ok(user) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Err(status) => refusal(&status),
    }
}

fn identify(authenticator: &Authenticator, request: &Request) -> Result<Identity, Status> {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0.as_ref());
    let user = authenticator.identify(peer, request.headers())?;
    let uri = request.uri();
    authorize(&user, &attributes(request.method(), uri.path(), uri.query().unwrap_or_default()))?;
    Ok(user)
}

/// Refusals are JSON, whatever was asked for.
fn refusal(status: &Status) -> Response {
    let mut body = serde_json::to_vec(status).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::FORBIDDEN);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
