//! What a store may hold: objects of a type, or of a kind that is chosen at run time only their metadata.

use coracle_api::{Key, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;

use crate::typed::Typed;

/// What a store holds of an object.
pub trait Stored: Sized + Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Reads it off an object.
    ///
    /// # Errors
    /// JSON that does not fit.
    fn read(object: &Object) -> Result<Self, serde_json::Error>;
}

impl<K: Typed> Stored for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn read(object: &Object) -> Result<K, serde_json::Error> {
        K::from_json(&object.json)
    }
}

/// What names an object of any kind, who owns it, and whether and how it is going: enough for those who look after all kinds
/// alike. Labels, annotations and managed fields are left out, which are most of what metadata weigh.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// What names it.
    pub key: Key,
    /// The rest.
    pub meta: ObjectMeta,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    metadata: Wanted,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    uid: Option<String>,
    resource_version: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
    deletion_timestamp: Option<Time>,
}

impl Stored for Metadata {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn read(object: &Object) -> Result<Metadata, serde_json::Error> {
        let Wanted { uid, resource_version, owner_references, finalizers, deletion_timestamp } =
            object.decode::<Document>()?.metadata;
        let key = object.key.clone();
        let meta = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid,
            resource_version,
            owner_references,
            finalizers,
            deletion_timestamp,
            ..ObjectMeta::default()
        };
        Ok(Metadata { key, meta })
    }
}
