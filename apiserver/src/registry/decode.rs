//! From the bytes of a request to a tree.

use coracle_api::{KindRef, Status};
use serde_json::Value;

use super::operation::{Body, Context};

/// Reads an object of a kind: its shape, its fields, its defaults.
pub fn object(
    _context: &Context,
    kind: KindRef,
    body: Body,
    _warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let mut object = tree(body)?;
    (kind.strategy.default)(&mut object);
    Ok(object)
}

/// Reads any tree.
pub fn tree(body: Body) -> Result<Value, Status> {
    match body {
        Body::Tree(value) => Ok(value),
        Body::Json(bytes) => serde_json::from_slice(&bytes).map_err(|e| Status::bad_request(e.to_string())),
        Body::Yaml(bytes) => serde_saphyr::from_slice(&bytes).map_err(|e| Status::bad_request(e.to_string())),
        Body::Protobuf(_) => Err(Status::failure(415, "UnsupportedMediaType", "protobuf is not read yet")),
    }
}
