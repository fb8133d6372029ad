//! How a type of `k8s_openapi` and a row of the kind table find each other.

use coracle_api::kind::KindRef;
use coracle_api::{Key, kinds};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// A type of `k8s_openapi` that the cluster serves.
pub trait Typed:
    k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta> + Clone + Send + Sync + 'static
{
    /// The row of its kind.
    fn kind() -> KindRef {
        // A component that names a type which no row serves is a fault of the program, found by its first test.
        kinds::built_in(Self::GROUP, Self::VERSION, Self::URL_PATH_SEGMENT)
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

    /// Reads the object.
    ///
    /// # Errors
    /// JSON that does not fit the type.
    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error>;

    /// The object as a tree, `apiVersion` and `kind` included.
    fn to_value(&self) -> Value;
}

/// Written out for each type, and not once for all that can be read and written: that code is large, and so it is
/// compiled here and not again in every crate that uses the type. It halves the time that the components take to build.
macro_rules! typed {
    ($($kind:ty),+) => {$(
        impl Typed for $kind {
            fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
                serde_json::from_slice(json)
            }

            fn to_value(&self) -> Value {
                // Serialising into a tree fails only for maps with keys that are no text, which these types do not have.
                serde_json::to_value(self).unwrap_or_default()
            }
        }
    )+};
}

typed!(
    ConfigMap,
    Deployment,
    Event,
    Lease,
    Namespace,
    Node,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    Secret,
    Service,
    ServiceAccount
);
