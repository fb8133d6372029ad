//! Which slice of the cluster's network is a node's own: its Node's `podCIDR`.
//!
//! ```text
//!  propose: write a slice into the own Node --> the server refuses it where another Node has it --> propose another
//!                                           '-> it is the node's, for as long as there is the Node
//! ```
//!
//! The server's word is final (ADR 27, 45): the agent looks at no other Node.

use coracle_api::{Key, Object, Status, kinds};
use coracle_client::{Chance, Client};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::error::StartError;
use crate::network::Subnet;

/// What a node is content with.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// Any slice of its network, this one first if one is named: the others in turn, from one that chance names.
    Any {
        /// The number of the slice that it tries first.
        first: Option<u16>,
        /// Where it goes on.
        chance: &'a Chance,
    },
    /// The slice from which its pods have their addresses.
    Only(Subnet),
}

impl Wish<'_> {
    /// What is proposed, one after the other.
    pub fn proposals(self, whole: Subnet) -> Box<dyn Iterator<Item = Subnet> + Send> {
        match self {
            Wish::Only(slice) => Box::new(std::iter::once(slice)),
            Wish::Any { first, chance } => {
                let count = u64::from(whole.slices());
                let start = chance.next().checked_rem(count).unwrap_or(0);
                let turn = (0..count).filter_map(move |n| u16::try_from((start + n) % count).ok());
                let numbers = first.into_iter().chain(turn.filter(move |n| Some(*n) != first));
                Box::new(numbers.filter_map(move |n| whole.slice(n)))
            }
        }
    }
}

/// The slice that the Node of this name has, if it is there and has one.
///
/// # Errors
/// The API does not answer.
pub async fn of_node(client: &dyn Client, name: &str) -> Result<Option<Subnet>, StartError> {
    let node = client.get(&Key::new(&kinds::NODE, "", name)).await?;
    Ok(node.and_then(|node| of(&node)))
}

/// The slice that a Node has.
pub fn of(node: &Object) -> Option<Subnet> {
    let node: Node = serde_json::from_slice(&node.json).ok()?;
    node.spec?.pod_cidr?.parse().ok()
}

/// The part of a Node's `spec` that names its slice.
pub fn written(slice: Subnet) -> Value {
    let text = slice.to_string();
    json!({"podCIDR": text, "podCIDRs": [text]})
}

/// Whether a write was refused because another Node has the slice.
pub fn is_taken(refusal: &Status) -> bool {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    refusal.code == 422 && causes.into_iter().any(|cause| cause.field == "spec.podCIDRs")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_slice_is_proposed_once_and_the_named_one_first() {
        let whole: Subnet = "10.88.0.0/16".parse().unwrap();
        for first in [None, Some(7)] {
            let chance = Chance::seeded(5);
            let proposed: Vec<Subnet> = Wish::Any { first, chance: &chance }.proposals(whole).collect();
            let different: BTreeSet<String> = proposed.iter().map(Subnet::to_string).collect();
            assert_eq!((proposed.len(), different.len()), (256, 256));
            assert!(proposed.iter().all(|slice| slice.is_slice_of(&whole)));
            assert!(first.is_none() || proposed[0] == "10.88.7.0/24".parse().unwrap());
        }
        let own: Subnet = "10.88.9.0/24".parse().unwrap();
        assert_eq!(Wish::Only(own).proposals(whole).collect::<Vec<_>>(), [own]);
        let tiny: Subnet = "10.88.0.0/25".parse().unwrap();
        let chance = Chance::seeded(5);
        assert_eq!(Wish::Any { first: Some(0), chance: &chance }.proposals(tiny).count(), 0);
    }
}
