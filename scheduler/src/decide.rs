//! The decision: pure, total, replayable. The same pod, snapshot, profile and seed give the same node.

use crate::filter::{Ask, FILTERS, Reason};
use crate::neighbours::Neighbours;
use crate::pod::Pod;
use crate::profile::Profile;
use crate::snapshot::{Slot, Snapshot};
use crate::view::NodeView;

/// What a pod's turn came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The chosen node, or none fits.
    pub node: Option<Slot>,
    /// What became of each node that exists.
    pub verdicts: Vec<(Slot, Outcome)>,
    /// The pod contradicts itself, so that no node was looked at; says how.
    pub early: Option<&'static str>,
}

/// What a node was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The filter with that index said no.
    Refused(usize, Reason),
    /// It fits, with this rank.
    Fits(Rank),
}

/// How good a node is. The greater wins: by score, and among equals by a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Weighted sum of the scores, in thousandths.
    pub total: i64,
    /// Drawn from the seed and the node's name.
    pub draw: u64,
}

/// Looks at every node and takes the best of those that fit.
pub fn decide(pod: &Pod, snapshot: &Snapshot, profile: &Profile, seed: u64) -> Decision {
    if let Some(conflict) = contradiction(pod) {
        return Decision { node: None, verdicts: Vec::new(), early: Some(conflict) };
    }
    let neighbours = Neighbours::of(pod, snapshot);
    let ask = Ask { pod, neighbours: &neighbours };
    let mut best: Option<(Rank, Slot)> = None;
    let mut verdicts = Vec::with_capacity(snapshot.len());
    for (slot, node, facts) in snapshot.present() {
        let outcome = judge(&ask, NodeView { node, facts }, profile, seed);
        if let Outcome::Fits(rank) = outcome {
            best = best.max(Some((rank, slot)));
        }
        verdicts.push((slot, outcome));
    }
    Decision { node: best.map(|(_, slot)| slot), verdicts, early: None }
}

/// Whether the pod's own wishes exclude every node.
pub fn contradiction(pod: &Pod) -> Option<&'static str> {
    pod.shape.only_nodes.as_ref().filter(|n| n.is_empty()).map(|_| "pod affinity terms conflict")
}

/// What one node is for a pod: the first filter's no, or its rank.
pub fn judge(ask: &Ask<'_>, view: NodeView<'_>, profile: &Profile, seed: u64) -> Outcome {
    for (index, (_, filter)) in FILTERS.iter().enumerate() {
        if let Err(reason) = filter.check(ask, view) {
            return Outcome::Refused(index, reason);
        }
    }
    let total = profile.scores.iter().map(|(_, score, weight)| score.score(ask, view) * weight).sum();
    Outcome::Fits(Rank { total, draw: draw(seed, &view.node.name) })
}

/// A node's draw among equals. FNV-1a over the name, begun from the seed, then stirred (the end of splitmix64), so that names that
/// differ in the last letter do not draw neighbouring numbers.
fn draw(seed: u64, name: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
