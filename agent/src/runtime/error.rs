//! Errors of a container engine, by what a caller does about them.

use std::time::Duration;

use crate::network::Subnet;

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
    /// The cluster's network cannot have the subnet that it had.
    #[error(
        "the cluster's network is gone, and cannot be made again on {subnet}, where its nodes have their addresses from: \
         that overlaps {by}"
    )]
    SubnetTaken {
        /// The subnet that it had.
        subnet: Subnet,
        /// What has it now.
        by: String,
    },
    /// What no agent has made uses the network, which so cannot be removed.
    #[error(
        "network {network} is in use by containers that are not Coracle's: {names}. Take them out of it (docker network \
         disconnect -f {network} NAME) or remove them (docker rm -f NAME), then try again",
        names = .containers.join(", ")
    )]
    InUse {
        /// The network's name.
        network: String,
        /// The names of the containers.
        containers: Vec<String>,
    },
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
