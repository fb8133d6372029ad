//! Scores by room: what would be promised on the node with this pod on it.

use std::sync::Arc;

use super::contract::{FULL, Score};
use crate::filter::Ask;
use crate::view::NodeView;

/// The fullest first, all resources considered together.
pub struct Packed;

/// The emptiest first.
pub struct Free;

/// The one first whose resources would be used most evenly, so that none is left over when another runs out.
pub struct Balanced;

/// The one first with the fewest pods of this class and namespace.
pub struct FewAlike;

impl Score for Packed {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let shares = Shares::after(ask, view);
        if shares.count == 0 { 0 } else { shares.sum / shares.count }
    }
}

impl Score for Free {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        FULL - Packed.score(ask, view)
    }
}

impl Score for Balanced {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let shares = Shares::after(ask, view);
        if shares.count == 0 { 0 } else { FULL - (shares.most - shares.least) }
    }
}

impl Score for FewAlike {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let alike = |other: &&Arc<crate::pod::Pod>| {
            Arc::ptr_eq(&other.shape, &ask.pod.shape) && other.namespace == ask.pod.namespace
        };
        FULL / (1 + i64::try_from(view.node.pods.iter().filter(alike).count()).unwrap_or(FULL))
    }
}

/// How much of each resource would be promised, in parts of [`FULL`]: cpu and memory, and what else the pod asks for.
struct Shares {
    sum: i64,
    count: i64,
    least: i64,
    most: i64,
}

impl Shares {
    fn after(ask: &Ask<'_>, view: NodeView<'_>) -> Shares {
        let (shape, all, node) = (&ask.pod.shape, &view.facts.allocatable, view.node);
        let mut shares = Shares { sum: 0, count: 0, least: FULL, most: 0 };
        shares.add(node.weight.0, shape.weight.0, all.cpu);
        shares.add(node.weight.1, shape.weight.1, all.memory);
        if shape.requests.storage > 0 {
            shares.add(node.used.storage, shape.requests.storage, all.storage);
        }
        for (name, want) in shape.requests.extended.iter().filter(|(_, want)| *want > 0) {
            shares.add(node.used.extended(name), *want, all.extended(name));
        }
        shares
    }

    fn add(&mut self, used: i64, want: i64, all: i64) {
        if all <= 0 {
            return;
        }
        let share = i128::from(used.saturating_add(want)) * i128::from(FULL) / i128::from(all);
        let share = i64::try_from(share).unwrap_or(FULL).clamp(0, FULL);
        self.sum += share;
        self.count += 1;
        self.least = self.least.min(share);
        self.most = self.most.max(share);
    }
}
