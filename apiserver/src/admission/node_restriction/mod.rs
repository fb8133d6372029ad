//! What a node may write: its own Node (but not what decides which pods come to it), its own lease, the status and the end of the pods
//! bound to it, and tokens for these. Nobody but nodes is restricted here.
//!
//! Source: `plugin/pkg/admission/noderestriction/admission.go`.

mod labels;
mod node;
mod pod;
mod review;
mod token;

use async_trait::async_trait;
use coracle_api::{Key, Status};
use serde_json::Value;

use node::own_node;
use pod::own_pod;
use review::{Refusal, Review, forbid};
use token::token;

use super::attributes::{Attributes, Operation};
use super::link::Link;

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// The link.
pub(super) struct NodeRestriction;

#[async_trait]
impl Link for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let Some(node) = attributes.user.node() else { return Ok(false) };
        let verb = match attributes.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Connect => return Ok(false),
        };
        // A new object, and one of a collection, has no name but its own.
        let named = if object.is_null() { attributes.old } else { &*object };
        let inside = named["metadata"]["name"].as_str().unwrap_or_default();
        let name = if attributes.key.name.is_empty() { inside } else { &attributes.key.name };
        let key = Key { name: name.into(), ..attributes.key.clone() };
        let find = |key: &Key| attributes.find(key).map(|entry| entry.value());
        let (sub, old) = (attributes.subresource, attributes.old);
        admit(&Review { node, verb, key: &key, sub, new: object, old, find: &find }).map(|()| false)
    }
}

/// Whether the node may.
///
/// # Errors
/// 403, or 404 for a pod or a node that is not there; in upstream's words.
fn admit(review: &Review<'_>) -> Result<(), Status> {
    let kind = &review.key.kind;
    let outcome = match (kind.group(), kind.plural()) {
        ("", "nodes") => own_node(review),
        ("", "pods") => own_pod(review),
        ("", "serviceaccounts") if review.sub == "token" => token(review),
        ("coordination.k8s.io", "leases") => own_lease(review),
        ("storage.k8s.io", "csinodes") => same_name(review, "CSINode"),
        _ => Ok(()),
    };
    outcome.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => Status::forbidden(kind, &review.key.name, &why),
        Refusal::NotFound(key) => Status::not_found(&key.kind, &key.name),
    })
}

fn own_lease(review: &Review<'_>) -> Result<(), Refusal> {
    if review.key.namespace != LEASES {
        return forbid(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if review.key.name != review.node {
        return forbid("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn same_name(review: &Review<'_>, kind: &str) -> Result<(), Refusal> {
    if review.key.name == review.node {
        return Ok(());
    }
    forbid(format!("can only access {kind} with the same name as the requesting node"))
}

#[cfg(test)]
mod tests;
