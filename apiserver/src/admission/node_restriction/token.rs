//! Which tokens of service accounts a node may ask for.

use coracle_api::{Key, kinds};
use serde_json::Value;

use super::review::{Refusal, Review, forbid};

/// A token is for a pod of the node: this very one, and for those whom its volumes are for.
pub fn token(review: &Review<'_>) -> Result<(), Refusal> {
    let bound = &review.new["spec"]["boundObjectRef"];
    let field = |name: &str| bound[name].as_str().unwrap_or_default();
    if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
        return forbid("node requested token not bound to a pod");
    }
    if field("uid").is_empty() {
        return forbid("node requested token with a pod binding without a uid");
    }
    let pod = review.found(Key::new(&kinds::POD, review.key.namespace.as_str(), field("name")))?;
    if pod["metadata"]["uid"] != field("uid") {
        return forbid(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            field("uid")
        ));
    }
    if pod["spec"]["nodeName"] != review.node {
        return forbid("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = review.new["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let audience = match audiences {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return forbid("node may only request 0 or 1 audiences"),
    };
    if !has_volume_for(&pod, audience) {
        return forbid(format!("audience {audience:?} not found in pod spec volume"));
    }
    Ok(())
}

/// Whether one of a pod's volumes holds a token for somebody.
fn has_volume_for(pod: &Value, audience: &str) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&pod["spec"]["volumes"]).iter().any(|volume| {
        list(&volume["projected"]["sources"]).iter().any(|source| {
            let token = &source["serviceAccountToken"];
            token.is_object() && token["audience"].as_str().unwrap_or_default() == audience
        })
    })
}
