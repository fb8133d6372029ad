//! How a type of `k8s_openapi` and a row of the kind table find each other.

use coracle_api::kind::KindRef;
use coracle_api::{Key, kinds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A type of `k8s_openapi` that the cluster serves. Every such type is one.
pub trait Typed:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The row of its kind.
    fn kind() -> KindRef {
        // A component that names a type which no row serves is a fault of the program, found by its first test.
        kinds::by_resource(Self::GROUP, Self::VERSION, Self::URL_PATH_SEGMENT)
            .expect("components use only types that have a row in the kind table")
    }

    /// What names this object.
    fn key(&self) -> Key {
        let meta = self.metadata();
        Key::new(
            Self::kind(),
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }

    /// The object as a tree, `apiVersion` and `kind` included.
    fn to_value(&self) -> Value {
        // Serialising into a tree fails only for maps with keys that are no text, which these types do not have.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl<T> Typed for T where
    T: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static
{
}
