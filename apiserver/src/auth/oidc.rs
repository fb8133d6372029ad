//! What others need to check tokens of this cluster's service accounts: who issues them, and the public key.

use axum::body::Body;
use axum::response::Response;
use coracle_api::Status;
use coracle_api::status::Details;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::pki::token::{AccountTokens, ISSUER};

/// Where the issuer's description is.
pub const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// Where its keys are.
pub const KEYS: &str = "/openid/v1/jwks";

/// Answers a request for one of the two documents; `None` for any other path.
pub fn answer(path: &str, headers: &HeaderMap, tokens: &AccountTokens) -> Option<Result<Response, Status>> {
    match path {
        CONFIGURATION => Some(document(headers, "application/json", &configuration())),
        KEYS => Some(document(headers, "application/jwk-set+json", &json!({"keys": [tokens.public_key()]}))),
        _ => None,
    }
}

fn configuration() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn document(headers: &HeaderMap, media: &'static str, document: &Value) -> Result<Response, Status> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let wanted = |range: &str| ["", "*/*", "application/*", media].contains(&range.trim());
    if !accept.split(',').any(|range| wanted(range.split(';').next().unwrap_or_default())) {
        let text = format!("406: Not Acceptable\n\nAvailable representations: {media}");
        return Err(Status::failure(406, "NotAcceptable", text).with_details(Details::default()));
    }
    let mut response = Response::new(Body::from(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}
