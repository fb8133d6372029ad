//! A node as filters and scores look at it. It is known to exist: the scheduler also counts pods on nodes whose object is gone.

use crate::node::{Node, NodeFacts};
use crate::pod::Shape;

/// A node that exists.
#[derive(Clone, Copy)]
pub struct NodeView<'a> {
    /// The node and what is on it.
    pub node: &'a Node,
    /// What its object says.
    pub facts: &'a NodeFacts,
}

impl NodeView<'_> {
    /// Whether a pod's node selector and required node affinity leave the node in.
    pub fn suits(&self, shape: &Shape) -> bool {
        let labels = &self.facts.labels;
        let selected = shape.node_selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        let meant = |terms: &Vec<_>| {
            terms.iter().any(|t: &crate::terms::NodeTerm| t.matches(&self.node.name, labels))
        };
        selected && shape.required.as_ref().is_none_or(meant)
    }

    /// The first taint that forbids scheduling and that the pod does not tolerate.
    pub fn untolerated(&self, shape: &Shape) -> Option<usize> {
        self.facts.taints.iter().position(|taint| {
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
                && !shape.tolerations.iter().any(|t| t.tolerates(taint))
        })
    }
}
