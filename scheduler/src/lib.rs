//! Chooses a node for every pod that has none, and says why.
//!
//! Watched: Pods, Nodes, Namespaces. Written: `pods/binding`, the `PodScheduled` condition, Events, verdicts.
//!
//! ```text
//!  [Node] --watch--> Snapshot <--assume---------------------------.
//!                       |                                         |
//!  [Pod]  --watch--> Queue --> filter --> score --> bind (batched) --> [Binding]
//!                       ^         |
//!                       |         `--no node--> PodScheduled=False, verdict
//!                       `--wake--- changes that can help
//! ```
//!
//! Deciding is pure: [`decide::decide`] over a [`snapshot::Snapshot`]. The policy is two tables, [`filter::FILTERS`]
//! and [`score::SCORES`], and the weights of a [`profile::Profile`].

pub mod amounts;
pub mod brain;
pub mod changes;
pub mod class;
pub mod decide;
pub mod explain;
pub mod filter;
pub mod neighbours;
pub mod node;
pub mod pod;
pub mod pod_affinity;
pub mod profile;
pub mod queue;
mod run;
pub mod score;
pub mod sentence;
pub mod snapshot;
pub mod spread;
pub mod terms;
pub mod view;

pub use profile::{Config, ConfigError};
pub use run::start;
