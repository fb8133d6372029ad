//! What a node may write of Nodes: its own, but not what decides which pods come to it.

use serde_json::Value;

use super::labels::forbidden_labels;
use super::review::{Refusal, Review, forbid, is_empty, same_or_both_empty};

/// Creates, updates and deletes of a Node.
pub fn own_node(review: &Review<'_>) -> Result<(), Refusal> {
    let (node, new, old) = (review.node, review.new, review.old);
    if review.verb == "create" {
        if !new["spec"]["configSource"].is_null() {
            return forbid(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(&Value::Null, &new["metadata"]["labels"]);
        if !labels.is_empty() {
            return forbid(format!("is not allowed to set the following labels: {}", labels.join(", ")));
        }
        if !is_empty(&new["metadata"]["ownerReferences"]) {
            return forbid(format!("node {node:?} is not allowed to set ownerReferences"));
        }
    }
    if review.key.name != node {
        return forbid(format!("node {node:?} is not allowed to modify node {:?}", review.key.name));
    }
    match review.verb {
        "delete" => forbid(format!("node {node:?} is not allowed to delete node {node:?}")),
        "update" => {
            if new["spec"]["configSource"] != old["spec"]["configSource"] {
                return forbid(format!("node {node:?} is not allowed to update configSource to a new value"));
            }
            if !same_or_both_empty(&new["spec"]["taints"], &old["spec"]["taints"]) {
                return forbid(format!("node {node:?} is not allowed to modify taints"));
            }
            let labels = forbidden_labels(&old["metadata"]["labels"], &new["metadata"]["labels"]);
            if !labels.is_empty() {
                return forbid(format!("is not allowed to modify labels: {}", labels.join(", ")));
            }
            if !same_or_both_empty(&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]) {
                return forbid(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
