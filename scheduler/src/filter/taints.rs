//! Taints and tolerations. A node that is not ready is kept away from by its taints, not by its condition.

use super::{Ask, Filter, NodeView, Reason};
use crate::node::NodeFacts;
use crate::pod::Shape;
use crate::wake::Changes;

/// Every taint that forbids scheduling must be tolerated.
pub struct Tolerated;

impl Filter for Tolerated {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        untolerated(&ask.pod.shape, view.facts).map_or(Ok(()), |i| Err(Reason::Tainted(i)))
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::NODE_TAINTS
    }
}

/// The first taint that forbids scheduling and is not tolerated.
pub fn untolerated(shape: &Shape, facts: &NodeFacts) -> Option<usize> {
    facts.taints.iter().position(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !shape.tolerations.iter().any(|t| t.tolerates(taint))
    })
}
