//! What a node may write of pods: the status and the end of those bound to it, and mirrors of those that it runs by itself.

use coracle_api::{Key, kinds};
use serde_json::Value;

use super::review::{Refusal, Review, forbid, same_or_both_empty};
use crate::auth::references::{MIRROR, names_any};

/// Creates, updates and deletes of a pod, and what is posted to one.
pub fn own_pod(review: &Review<'_>) -> Result<(), Refusal> {
    let node = review.node;
    let mine = |pod: &Value| pod["spec"]["nodeName"] == node;
    match (review.sub, review.verb) {
        ("", "create") => mirror_pod(review),
        ("", "delete") if mine(review.old) => Ok(()),
        ("", "delete") => {
            forbid(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("status", "update") if !mine(review.old) => forbid(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )),
        ("status", "update")
            if !same_or_both_empty(&review.new["metadata"]["labels"], &review.old["metadata"]["labels"]) =>
        {
            forbid(format!("node {node:?} cannot update labels through pod status"))
        }
        ("status", "update") => Ok(()),
        ("eviction", "create") => {
            let pod = review.found(review.key.clone())?;
            if mine(&pod) {
                return Ok(());
            }
            forbid(format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("", verb) => forbid(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            verb.to_uppercase()
        )),
        (sub, _) => {
            forbid(format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"))
        }
    }
}

/// A pod that a node runs by itself, and shows to the server. It names nothing that the node would gain a right to by it.
fn mirror_pod(review: &Review<'_>) -> Result<(), Refusal> {
    let (node, pod) = (review.node, review.new);
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        return forbid(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return forbid(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let owner = match owners {
        [owner] => owner,
        [] => {
            return forbid(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        _ => {
            return forbid(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return forbid(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return forbid(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return forbid(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let known = review.found(Key::new(&kinds::NODE, "", node))?;
    if owner["uid"] != known["metadata"]["uid"] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (expected, got) = (text(&known["metadata"]["uid"]), text(&owner["uid"]));
        return forbid(format!("node {node:?} UID mismatch: expected {expected} got {got}"));
    }
    let kinds = [
        ("serviceaccounts", "a service account"),
        ("secrets", "secrets"),
        ("configmaps", "configmaps"),
        ("persistentvolumeclaims", "persistentvolumeclaims"),
    ];
    match kinds.iter().find(|(resource, _)| names_any(pod, resource)) {
        Some((_, what)) => forbid(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}
