//! Why an agent cannot start.

/// Why an agent could not start.
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
    /// Another node chose the same slice in the same moment.
    #[error("node {0} has the same slice of the network")]
    SliceTaken(String),
}
