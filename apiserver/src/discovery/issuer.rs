//! What others need to check tokens of this cluster's service accounts: who issues them, and the public key.

use axum::body::Body;
use axum::response::Response;
use coracle_api::Status;
use coracle_api::status::Details;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::http::path::{ISSUER_CONFIGURATION, ISSUER_KEYS};
use crate::http::reply::no_resource;
use crate::pki::token::{AccountTokens, ISSUER};

/// Answers a request for one of the two documents, by its path.
///
/// # Errors
/// 404 for any other path; 406 for a client that takes no JSON.
pub fn answer(path: &str, accept: &str, tokens: &AccountTokens) -> Result<Response, Status> {
    match path {
        ISSUER_CONFIGURATION => document(accept, "application/json", &configuration()),
        ISSUER_KEYS => document(accept, "application/jwk-set+json", &json!({"keys": [tokens.public_key()]})),
        _ => Err(no_resource()),
    }
}

fn configuration() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}{ISSUER_KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

fn document(accept: &str, media: &'static str, document: &Value) -> Result<Response, Status> {
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

#[cfg(test)]
mod tests {
    use coracle_client::Clock;

    use super::*;
    use crate::pki::Pki;

    #[test]
    fn the_documents_are_served_as_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), Clock::system()).unwrap();
        let ask = |path: &str, accept: &str| {
            let answer = answer(path, accept, pki.accounts());
            answer.map(|response| response.headers()["content-type"].clone()).map_err(|status| status.code)
        };
        assert_eq!(ask(ISSUER_CONFIGURATION, "application/json").unwrap(), "application/json");
        assert_eq!(ask(ISSUER_KEYS, "application/json"), Err(406));
        assert_eq!(ask(ISSUER_KEYS, "*/*").unwrap(), "application/jwk-set+json");
        assert_eq!(ask(ISSUER_KEYS, "").unwrap(), "application/jwk-set+json");
        assert_eq!(ask("/openid", "*/*"), Err(404));
    }
}
