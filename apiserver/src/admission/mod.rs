//! What a new object must pass, and what is filled in on its way: a chain, run in order.

use coracle_api::{Key, KindRef, Status};
use serde_json::Value;

use crate::registry::Registry;
use crate::registry::operation::Context;

/// Runs the chain for a new object.
///
/// # Errors
/// 403 or 404, with upstream's texts.
pub fn admit_create(
    _registry: &Registry,
    _context: &Context,
    _kind: KindRef,
    _namespace: &str,
    _object: &mut Value,
) -> Result<(), Status> {
    Ok(())
}

/// Runs the chain for a delete.
///
/// # Errors
/// 403 for what the cluster cannot do without.
pub fn admit_delete(_context: &Context, key: &Key) -> Result<(), Status> {
    let protected = ["default", "kube-system", "kube-public"];
    if key.kind.plural == "namespaces" && protected.contains(&key.name.as_str()) {
        return Err(Status::forbidden(key.kind, &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}
