//! Filters rule nodes out. The whole policy is one table, in the order it runs: in upstream's order, because the first
//! refusal is the one that people read, and cheap filters first.

mod affinity;
mod contract;
mod detail;
mod node;
mod pod_affinity;
mod ports;
mod reason;
mod resources;
mod spread;
mod taints;

pub use contract::{Ask, Filter};
pub use detail::detail;
pub use reason::{Lacks, Reason};

/// The whole policy.
pub static FILTERS: &[(&str, &dyn Filter)] = &[
    ("NodeSet", &node::InNamedSet),
    ("NodeUnschedulable", &node::NotCordoned),
    ("TaintToleration", &taints::Tolerated),
    ("NodeAffinity", &affinity::Suits),
    ("NodePorts", &ports::PortsFree),
    ("NodeResourcesFit", &resources::Fits),
    ("PodTopologySpread", &spread::KeepsSkew),
    ("InterPodAffinity", &pod_affinity::PodAffinityHolds),
];
