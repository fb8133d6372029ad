//! Filters rule nodes out. The whole policy is one table, in the order it runs: cheap and telling first, and as
//! upstream has it, because the first refusal is the one that people read.

mod affinity;
mod near;
mod node;
mod ports;
mod resources;
mod spread;
mod taints;

pub use affinity::suits_selector;
pub use resources::Lacks;
pub use taints::untolerated;

use crate::around::Around;
use crate::node::{Node, NodeFacts};
use crate::pod::Pod;
use crate::wake::Changes;

/// A pod that looks for a node, and what stands around.
pub struct Ask<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What its rules about other pods need to know.
    pub around: &'a Around,
}

/// A node that exists.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    /// The node and what is on it.
    pub node: &'a Node,
    /// What its object says.
    pub facts: &'a NodeFacts,
}

/// Rules a node out.
pub trait Filter: Send + Sync {
    /// Whether the pod may run there, or why not.
    fn check(&self, ask: &Ask<'_>, node: NodeView<'_>) -> Result<(), Reason>;

    /// The changes of a cluster that may turn this filter's no into a yes. Nodes that come always may.
    fn helped_by(&self) -> Changes;
}

/// The whole policy.
pub static FILTERS: &[(&str, &dyn Filter)] = &[
    ("NodeSet", &node::InNamedSet),
    ("NodeUnschedulable", &node::NotCordoned),
    ("TaintToleration", &taints::Tolerated),
    ("NodeAffinity", &affinity::Suits),
    ("NodePorts", &ports::PortsFree),
    ("NodeResourcesFit", &resources::Fits),
    ("PodTopologySpread", &spread::KeepsSkew),
    ("InterPodAffinity", &near::GoodCompany),
];

/// A filter's no. Small and without text, because most of them are never read; [`Reason::words`] and
/// [`Reason::detail`] give the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pod names its nodes, and this is none of them.
    NotNamed,
    /// Cordoned.
    Cordoned,
    /// The taint with that index is not tolerated.
    Tainted(usize),
    /// The node selector or required node affinity leaves it out.
    Unsuited,
    /// The port with that index in the pod is taken.
    PortTaken(usize),
    /// Too little is free.
    Lacks(Lacks),
    /// It has no label that a spreading rule goes by.
    NoDomain,
    /// The spreading rule with that index would be broken.
    TooSkewed(usize),
    /// Nobody is there whom the pod must be near to, by the rule with that index.
    NoCompany(usize),
    /// Somebody is there whom the pod may not be near to, by the rule with that index.
    BadCompany(usize),
    /// Somebody there does not want the pod.
    Unwelcome,
}

impl Reason {
    /// What upstream calls it, for the summary that `kubectl describe` shows. Lacks of several things are told apart.
    pub fn words(self, pod: &Pod) -> Vec<String> {
        let one = |text: &str| vec![text.to_string()];
        match self {
            Reason::NotNamed => one("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
            Reason::Cordoned => one("node(s) were unschedulable"),
            Reason::Tainted(_) => one("node(s) had untolerated taint(s)"),
            Reason::Unsuited => one("node(s) didn't match Pod's node affinity/selector"),
            Reason::PortTaken(_) => one("node(s) didn't have free ports for the requested pod ports"),
            Reason::Lacks(lacks) => lacks.words(pod),
            Reason::NoDomain => {
                one("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Reason::TooSkewed(_) => one("node(s) didn't match pod topology spread constraints"),
            Reason::NoCompany(_) => one("node(s) didn't match pod affinity rules"),
            Reason::BadCompany(_) => one("node(s) didn't match pod anti-affinity rules"),
            Reason::Unwelcome => one("node(s) didn't satisfy existing pods anti-affinity rules"),
        }
    }

    /// By how much, for a person who asks why.
    pub fn detail(self, ask: &Ask<'_>, view: NodeView<'_>) -> String {
        let shape = &ask.pod.shape;
        match self {
            Reason::NotNamed => "the pod names its nodes, and not this one".into(),
            Reason::Cordoned => "cordoned".into(),
            Reason::Tainted(i) => match view.facts.taints.get(i) {
                Some(taint) => format!("taint {taint} is not tolerated"),
                None => "a taint is not tolerated".into(),
            },
            Reason::Unsuited => affinity::detail(shape, view),
            Reason::PortTaken(i) => ports::detail(shape, i, view),
            Reason::Lacks(lacks) => lacks.detail(shape, view),
            Reason::NoDomain => spread::missing(shape, view),
            Reason::TooSkewed(i) => spread::detail(ask, i, view),
            Reason::NoCompany(i) => {
                format!(
                    "no pod that the affinity rule means shares its {}",
                    near::key(&shape.near.required, i)
                )
            }
            Reason::BadCompany(i) => {
                format!(
                    "a pod that the anti-affinity rule means shares its {}",
                    near::key(&shape.near.forbidden, i)
                )
            }
            Reason::Unwelcome => "a pod there keeps this one away by its anti-affinity".into(),
        }
    }

    /// Whether no other pod's leaving could help.
    pub fn is_final(self) -> bool {
        match self {
            Reason::PortTaken(_) | Reason::TooSkewed(_) | Reason::BadCompany(_) | Reason::Unwelcome => false,
            Reason::Lacks(lacks) => lacks.for_good,
            _ => true,
        }
    }
}
