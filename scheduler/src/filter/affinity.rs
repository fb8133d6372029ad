//! Node selector and required node affinity.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::pod::Shape;
use crate::view::NodeView;

/// Every key of the node selector, and at least one term of the affinity.
pub struct Suits;

impl Filter for Suits {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        if view.suits(&ask.pod.shape) { Ok(()) } else { Err(Reason::Unsuited) }
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::NODE_LABELS
    }
}

/// Which label is wrong, or that no term matches.
pub fn detail(shape: &Shape, view: NodeView<'_>) -> String {
    let labels = &view.facts.labels;
    match shape.node_selector.iter().find(|(k, v)| labels.get(k) != Some(v)) {
        Some((k, v)) => match labels.get(k) {
            Some(other) => format!("selector wants {k}={v}, the node has {k}={other}"),
            None => format!("selector wants {k}={v}, the node has no such label"),
        },
        None => "no term of the required node affinity matches its labels".into(),
    }
}
