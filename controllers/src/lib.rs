//! The controllers: each watches some kinds, plans from one snapshot, and writes through the client.
//!
//! ```text
//! Deployment --> ReplicaSet --> Pod            deployment, replicaset
//! owner gone --> dependents go                 garbage
//! Namespace deleted --> all that is in it      namespace
//! Lease silent --> Node taints                 node_lifecycle
//! Node taints --> Pods leave                   taint_eviction
//! Pods nobody cares for                        podgc
//! PodDisruptionBudget --> how many may go      disruption
//! Namespace --> default account, trusted CA    serviceaccount
//! ```
//!
//! Each is a `Controller` of `coracle_client`: it observes and plans, and beside its plan stand the tests. The runner wakes
//! it, shows its plans to the gate, carries them out and repeats what failed.

mod conditions;
mod config;
mod deployment;
mod disruption;
mod garbage;
mod labels;
mod namespace;
mod node_lifecycle;
mod patch;
mod podgc;
mod pods;
mod replicaset;
mod serviceaccount;
mod shared;
#[cfg(test)]
mod sim;
mod start;
mod taint_eviction;
#[cfg(test)]
mod testing;
mod time;
mod timing;
mod workload;

pub use config::Config;
pub(crate) use shared::Shared;
pub use start::{start, start_gated};
pub use timing::Timing;
