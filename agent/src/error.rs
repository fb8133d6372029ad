//! Why an agent cannot start.

/// The agent ends with it; `coracle agent` prints it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container engine did not do what is needed.
    #[error(transparent)]
    Runtime(#[from] crate::runtime::Error),
    /// The API did not.
    #[error(transparent)]
    Api(#[from] coracle_client::Error),
    /// There is no slice of the network left for the node.
    #[error("the cluster's network {0} has no slice left for the node")]
    NoSlice(String),
    /// Other nodes were quicker to take every slice that the node has tried.
    #[error("other nodes are choosing their slices of the network at the same time")]
    SlicesContested,
}
