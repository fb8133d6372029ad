//! Scores by what a pod would rather have, and what a node would rather not.

use super::contract::{FULL, Score};
use crate::filter::Ask;
use crate::view::NodeView;

/// Preferred node affinity: the weights of the terms that match, of all that could.
pub struct LikedLabels;

/// `PreferNoSchedule` taints that the pod does not tolerate: the fewer the better, and the first counts most.
pub struct FewTaints;

impl Score for LikedLabels {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let preferred = &ask.pod.shape.preferred;
        let all: i64 = preferred.iter().map(|(weight, _)| i64::from(*weight)).sum();
        let matching = preferred.iter().filter(|(_, term)| term.matches(&view.node.name, &view.facts.labels));
        let got: i64 = matching.map(|(weight, _)| i64::from(*weight)).sum();
        if all == 0 { 0 } else { got * FULL / all }
    }
}

impl Score for FewTaints {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let tolerations = &ask.pod.shape.tolerations;
        let minded = view.facts.taints.iter().filter(|taint| {
            taint.effect == "PreferNoSchedule" && !tolerations.iter().any(|t| t.tolerates(taint))
        });
        FULL / (1 + 3 * i64::try_from(minded.count()).unwrap_or(FULL))
    }
}
