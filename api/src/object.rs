//! What names an object, what numbers its changes, and the object as everybody passes it on.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kind::KindRef;

/// The cluster's one counter. An object's `metadata.resourceVersion` is the revision of its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What names one object: its kind, its namespace (empty where the kind has none) and its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The row of the kind table.
    pub kind: KindRef,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Unique within kind and namespace.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(kind: impl Into<KindRef>, namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// `pods/default/web-0`, or `nodes/node-1`: resource (with its group where it has one), namespace, name.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.qualified_resource())?;
        if !self.namespace.is_empty() {
            write!(f, "/{}", self.namespace)?;
        }
        write!(f, "/{}", self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One live object at one revision: its JSON, encoded once and shared by every reader.
///
/// Whoever needs fields decodes `json` once (a component into a type of `k8s_openapi`, the server into a [`Value`]).
#[derive(Clone, Debug)]
pub struct Object {
    /// What it is called.
    pub key: Key,
    /// When it last changed.
    pub revision: Revision,
    /// The encoded object, `apiVersion` and `kind` included.
    pub json: Bytes,
}

impl Object {
    /// The object as a tree. Never fails for what the registry holds, which only keeps what it has itself encoded.
    ///
    /// # Errors
    /// Malformed JSON, which can only come from a foreign server or a damaged disk.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }

    /// The object as a typed struct of `k8s_openapi`.
    ///
    /// # Errors
    /// JSON that does not fit the type.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
}
