//! The trait of all filters, and what one is asked.

use super::reason::Reason;
use crate::changes::Changes;
use crate::neighbours::Neighbours;
use crate::pod::Pod;
use crate::view::NodeView;

/// A pod that looks for a node, and what is known of the pods that its rules are about.
pub struct Ask<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What its rules about other pods need to know.
    pub neighbours: &'a Neighbours,
}

/// Rules a node out.
pub trait Filter: Send + Sync {
    /// Whether the pod may run there, or why not.
    fn check(&self, ask: &Ask<'_>, node: NodeView<'_>) -> Result<(), Reason>;

    /// The changes of a cluster that may turn this filter's no into a yes. Nodes that come always may.
    fn helped_by(&self) -> Changes;
}
