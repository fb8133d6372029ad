//! How others check the tokens of this cluster's service accounts: OpenID Connect's discovery.

use coracle_api::Status;
use coracle_api::status::Details;
use serde_json::json;

use crate::pki::token::ISSUER;
use crate::registry::Registry;
use crate::rest::accept::Media;
use crate::rest::reply::Reply;

const KEYS: &str = "application/jwk-set+json";

/// `/.well-known/openid-configuration`.
pub fn openid() -> Reply {
    let document = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    Reply { cached: true, ..Reply::value(200, &document, &Media::JSON) }
}

/// `/openid/v1/jwks`.
///
/// # Errors
/// 406 for who asks for anything but a set of keys; 500 where there are none.
pub fn keys(registry: &Registry, accept: &str) -> Result<Reply, Status> {
    let mut types = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    if !accept.trim().is_empty() && !types.any(|name| name == KEYS || name == "*/*") {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {KEYS}");
        return Err(Status::failure(406, "NotAcceptable", message).with_details(Details::default()));
    }
    let tokens = registry.tokens().ok_or_else(|| Status::internal("no key to sign tokens with"))?;
    let reply = Reply::value(200, &tokens.jwks(), &Media::JSON);
    Ok(Reply { cached: true, content_type: KEYS.into(), ..reply })
}
