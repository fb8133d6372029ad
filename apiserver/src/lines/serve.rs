//! The subresources of pods that speak with their containers.

use axum::response::Response;
use coracle_api::Status;
use http::Method;
use http::request::Parts;

use super::session::App;
use crate::http::path::Target;
use crate::http::query::Query;
use crate::http::reply;

/// Whether a path leads here.
pub fn serves(target: &Target) -> bool {
    let sub = target.sub.as_deref().and_then(|sub| target.kind.subresource(sub));
    target.name.is_some() && sub.is_some_and(|sub| sub.by_node)
}

/// Answers a request that [`serves`] has approved of; whoever asks may.
///
/// # Errors
/// What is to be reported as a `Status`.
pub async fn answer(
    app: &App,
    target: &Target,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (namespace, name, sub) = (part(&target.namespace), part(&target.name), part(&target.sub));
    match (sub.as_str(), &parts.method) {
        ("log", &Method::GET) => super::log::answer(app, &namespace, &name, query, parts).await,
        ("exec" | "attach", &Method::GET | &Method::POST) => {
            super::remote::answer(app, &namespace, &name, &sub, query, parts).await
        }
        _ => Err(reply::no_method()),
    }
}
