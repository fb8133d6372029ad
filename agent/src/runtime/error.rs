//! Errors of a container engine, by what a caller does about them.

use std::time::Duration;

/// Why the engine did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such container, image or network.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or the container is in another state than it should be.
    #[error("{0}")]
    Conflict(String),
    /// The address is another container's.
    #[error("{0}")]
    AddressInUse(String),
    /// There is another cluster of this name.
    #[error(
        "another cluster {0:?} is on this engine, not the one of this folder; say another --name, or end the other with \
         `coracle down` from where it was started. If its folder is lost: docker rm -f $(docker ps -aq --filter \
         label={label}={0}); docker network rm coracle-{0}",
        label = crate::labels::CLUSTER
    )]
    Foreign(String),
    /// The engine refused, with this message.
    #[error("{0}")]
    Refused(String),
    /// It cannot be had in a way in which nobody can tamper with it.
    #[error("{0}")]
    Unsafe(String),
    /// A command took longer than it may.
    #[error("the command took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The engine cannot be reached, or did not answer in time.
    #[error("the container engine cannot be reached: {0}")]
    Unreachable(String),
}
