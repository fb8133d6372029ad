//! What authentication and authorization ask of the objects that are stored.

use std::sync::Arc;

use coracle_api::{Key, Object};

/// The stored objects, as far as rights depend on them.
pub trait Lookup: Send + Sync {
    /// An object as it is now.
    fn object(&self, key: &Key) -> Option<Arc<Object>>;

    /// The pods of a namespace that are bound to a node.
    fn pods_on(&self, node: &str, namespace: &str) -> Vec<Arc<Object>>;
}
