//! Why an agent cannot start.

use crate::network::Subnet;

/// The agent ends with it; `coracle agent` prints it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container engine did not do what is needed.
    #[error(transparent)]
    Runtime(#[from] crate::runtime::Error),
    /// The API did not.
    #[error(transparent)]
    Api(#[from] coracle_client::Error),
    /// Every slice of the network that would do is another node's.
    #[error(
        "of the cluster's network {network} no slice that would do is left for node {node}: other Nodes have them (podCIDR)"
    )]
    NoSlice {
        /// The node.
        node: String,
        /// The network.
        network: Subnet,
    },
    /// The Node has a slice of another network, and a Node's `podCIDR` cannot be changed.
    #[error(
        "the Node {node} has podCIDR {slice}, but its pods get their addresses from {home}. A podCIDR cannot be changed: \
         have the Node registered anew (kubectl delete node {node})"
    )]
    SliceElsewhere {
        /// The node.
        node: String,
        /// The slice that its Node has.
        slice: Subnet,
        /// Where its pods get their addresses from.
        home: String,
    },
}
