//! Required affinity and anti-affinity between pods, in both directions.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::pod_affinity::PodTerm;
use crate::view::NodeView;

/// The node's domain has the pods that this one requires, none that it forbids, and none that forbids this one.
pub struct PodAffinityHolds;

impl Filter for PodAffinityHolds {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        let (rules, neighbours, labels) = (&ask.pod.shape.pod_affinity, ask.neighbours, &view.facts.labels);
        for (i, (term, found)) in rules.required.iter().zip(&neighbours.required).enumerate() {
            let has_one =
                labels.get(&term.key).is_some_and(|d| neighbours.first_of_its_kind || found.contains(d));
            if !has_one {
                return Err(Reason::NoRequiredPod(i));
            }
        }
        for (i, (term, found)) in rules.forbidden.iter().zip(&neighbours.forbidden).enumerate() {
            if labels.get(&term.key).is_some_and(|d| found.contains(d)) {
                return Err(Reason::ForbiddenPod(i));
            }
        }
        if neighbours.unwelcome.iter().any(|(key, value)| labels.get(key) == Some(value)) {
            return Err(Reason::KeptAway);
        }
        Ok(())
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED
            | Changes::NODE_LABELS
            | Changes::POD_GONE
            | Changes::POD_PLACED
            | Changes::POD_LABELS
            | Changes::NAMESPACE
    }
}

/// The topology label of a rule.
pub fn key(terms: &[PodTerm], index: usize) -> &str {
    terms.get(index).map_or("domain", |t| &t.key)
}
