//! The controllers: each watches some kinds, plans from one snapshot, and writes through the client.
//!
//! ```text
//! Deployment --> ReplicaSet --> Pod            deployment, replicaset
//! owner gone --> dependents go                 garbage
//! Namespace deleted --> all that is in it      namespace
//! Lease silent --> Node taints --> Pods leave  node_lifecycle
//! Pods nobody cares for                        podgc
//! PodDisruptionBudget --> how many may go      disruption
//! Namespace --> default account, trusted CA    serviceaccount
//! ```
//!
//! Deciding is pure: `plan(observed, now)` is a function, beside which its tests stand. Acting is thin: the runner of
//! `coracle_client` wakes, gates and repeats.

mod deployment;
mod disruption;
mod garbage;
mod labels;
mod namespace;
mod node_lifecycle;
mod owner;
mod patch;
mod podgc;
mod pods;
mod replicaset;
mod serviceaccount;
mod shared;
#[cfg(test)]
mod sim;
mod start;
#[cfg(test)]
mod testing;
mod time;
mod timing;

pub(crate) use shared::{BATCH, Shared, drive, write_all};
pub use start::{Config, start, start_gated};
pub use timing::Timing;
