//! What a node is: named by the pod, open for new pods.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::pod::Taint;
use crate::view::NodeView;

/// Where required node affinity names nodes, only those are looked at.
pub struct InNamedSet;

impl Filter for InNamedSet {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        match &ask.pod.shape.only_nodes {
            Some(names) if !names.iter().any(|n| **n == *view.node.name) => Err(Reason::NotNamed),
            _ => Ok(()),
        }
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED
    }
}

/// A cordoned node takes only pods that tolerate the taint that stands for it.
pub struct NotCordoned;

impl Filter for NotCordoned {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        if !view.facts.unschedulable {
            return Ok(());
        }
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            value: String::new(),
            effect: "NoSchedule".into(),
        };
        if ask.pod.shape.tolerations.iter().any(|t| t.tolerates(&taint)) {
            Ok(())
        } else {
            Err(Reason::Cordoned)
        }
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED | Changes::NODE_UNCORDONED
    }
}
