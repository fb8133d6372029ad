//! Who owns what: references from an object to its owners, and the patches that add and remove them.

use coracle_client::Typed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

/// The reference to the controller of an object.
pub fn controller_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the object's controller is the one with this uid, not merely a namesake.
pub fn is_controlled_by(object: &ObjectMeta, uid: &str) -> bool {
    controller_of(object).is_some_and(|owner| owner.uid == uid)
}

/// The reference that a controller's object puts on what it makes.
pub fn controller_reference<K: Typed>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::API_VERSION.into(),
        kind: K::KIND.into(),
        name: owner.metadata().name.clone().unwrap_or_default(),
        uid: uid(owner.metadata()).into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The object's uid; empty for one that the server has not seen.
pub fn uid(object: &ObjectMeta) -> &str {
    object.uid.as_deref().unwrap_or_default()
}

/// The object's name; empty for one that the server has yet to name.
pub fn name(object: &ObjectMeta) -> &str {
    object.name.as_deref().unwrap_or_default()
}

/// The merge patch that makes `reference` the first of the object's owners, if the object has not changed meanwhile.
pub fn adoption(object: &ObjectMeta, reference: &OwnerReference) -> Value {
    let rest = object.owner_references.iter().flatten().filter(|owner| owner.uid != reference.uid);
    references(object, std::iter::once(reference).chain(rest).collect())
}

/// The merge patch that drops the owners with these uids, if the object has not changed meanwhile.
pub fn release(object: &ObjectMeta, uids: &[&str]) -> Value {
    let rest = object.owner_references.iter().flatten().filter(|owner| !uids.contains(&owner.uid.as_str()));
    references(object, rest.collect())
}

fn references(object: &ObjectMeta, owners: Vec<&OwnerReference>) -> Value {
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    json!({"metadata": {
        "uid": object.uid,
        "resourceVersion": object.resource_version,
        "ownerReferences": owners,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adopter_comes_first_and_a_release_leaves_the_others() {
        let other = OwnerReference { uid: "u9".into(), name: "own".into(), ..OwnerReference::default() };
        let object = ObjectMeta { owner_references: Some(vec![other]), ..ObjectMeta::default() };
        let mine = OwnerReference { uid: "u1".into(), ..OwnerReference::default() };
        let uids = |patch: &Value| -> Vec<String> {
            let owners = patch["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            owners.iter().map(|o| o["uid"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(uids(&adoption(&object, &mine)), ["u1", "u9"]);
        assert_eq!(uids(&release(&object, &["u7"])), ["u9"]);
        assert_eq!(release(&object, &["u9"])["metadata"]["ownerReferences"], Value::Null);
    }
}
