//! What a store may hold: objects of a type, the objects themselves, or of a kind that is chosen at run time only their metadata.

use std::borrow::Cow;
use std::sync::Arc;

use coracle_api::{Key, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::index::NsName;
use crate::typed::Typed;

/// What a store holds of an object. Whatever is left out of it is memory that no component needs.
pub trait Stored: Sized + Send + Sync + 'static {
    /// Whether a store of these holds the object with this key.
    fn is_wanted(_key: &Key) -> bool {
        true
    }

    /// Reads it off an object.
    ///
    /// # Errors
    /// JSON that does not fit.
    fn read(object: &Arc<Object>) -> Result<Arc<Self>, serde_json::Error>;

    /// Its namespace, empty where there is none, and its name.
    fn ns_name(&self) -> NsName;

    /// The uids of the owners that it names, by which [`Store::owned_by`](super::Store::owned_by) finds it.
    fn owners(&self) -> Vec<String>;
}

/// Typed copies are without `managedFields`: these are a third of an object's text and most of what it takes as a tree, and none
/// of what components decide by. An update without them leaves them as they are.
impl<K: Typed> Stored for K {
    fn read(object: &Arc<Object>) -> Result<Arc<K>, serde_json::Error> {
        K::from_json(&without_managed_fields(&object.json)).map(Arc::new)
    }

    fn ns_name(&self) -> NsName {
        let meta = self.metadata();
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }

    fn owners(&self) -> Vec<String> {
        owners_of(self.metadata())
    }
}

/// The objects themselves, decoded by nobody: for whoever looks into few of them, or keeps what it needs in a form of its own. In
/// the server's process these are the very objects that the server holds.
impl Stored for Object {
    fn read(object: &Arc<Object>) -> Result<Arc<Object>, serde_json::Error> {
        Ok(object.clone())
    }

    fn ns_name(&self) -> NsName {
        (self.key.namespace.clone(), self.key.name.clone())
    }

    /// Nobody is found by its owners here: reading them would be decoding.
    fn owners(&self) -> Vec<String> {
        Vec::new()
    }
}

fn owners_of(meta: &ObjectMeta) -> Vec<String> {
    meta.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
}

/// The same JSON with `null` in the place of `metadata.managedFields`.
fn without_managed_fields(json: &[u8]) -> Cow<'_, [u8]> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        metadata: Option<Fields<'a>>,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow, rename = "managedFields")]
        managed: Option<&'a RawValue>,
    }
    // What cannot be read in this way is left to whoever reads all of it.
    let document: Option<Document<'_>> = serde_json::from_slice(json).ok();
    let Some(managed) = document.and_then(|document| document.metadata?.managed) else { return json.into() };
    // It is borrowed from `json`, so it lies between these two.
    let start = managed.get().as_ptr().addr() - json.as_ptr().addr();
    let end = start + managed.get().len();
    [&json[..start], b"null", &json[end..]].concat().into()
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
    fn read(object: &Arc<Object>) -> Result<Arc<Metadata>, serde_json::Error> {
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
        Ok(Arc::new(Metadata { key, meta }))
    }

    fn ns_name(&self) -> NsName {
        (self.key.namespace.clone(), self.key.name.clone())
    }

    fn owners(&self) -> Vec<String> {
        owners_of(&self.meta)
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::{Revision, kinds};
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> Arc<Object> {
        let key = Key::new(&kinds::CONFIG_MAP, "n", "a");
        Arc::new(Object { key, revision: Revision(7), json: value.to_string().into() })
    }

    #[test]
    fn typed_copies_are_without_managed_fields_and_with_all_else() {
        let managed = json!([{"manager": "kubectl", "fieldsV1": {"f:data": {"f:managedFields": {}}}}]);
        let data = json!({"managedFields": "[{}]", "quote": "\"managedFields\":[1]", "wide": "å舟"});
        let cases = [
            ("in the middle", json!({"name": "a", "managedFields": managed, "uid": "u"})),
            ("alone", json!({"managedFields": managed})),
            ("without", json!({"name": "a", "uid": "u"})),
            ("none", Value::Null),
        ];
        for (name, metadata) in cases {
            let whole = json!({"kind": "ConfigMap", "metadata": metadata, "data": data});
            let mut expected: ConfigMap = serde_json::from_value(whole.clone()).unwrap();
            expected.metadata.managed_fields = None;
            assert_eq!(*ConfigMap::read(&object(&whole)).unwrap(), expected, "case: {name}");
        }
    }

    #[test]
    fn a_store_of_objects_holds_the_servers_own() {
        let held = object(&json!({"metadata": {"name": "a"}}));
        assert!(Arc::ptr_eq(&held, &Object::read(&held).unwrap()));
    }
}
