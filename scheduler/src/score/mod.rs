//! Scores order the nodes that the filters left. Each is 0..=100 in thousandths, so that a weight means the same
//! everywhere and nearly equal nodes still differ; each looks at one node only, so that a node's score stays good until
//! that node changes.

mod company;
mod images;
mod preferences;
mod room;

use crate::filter::{Ask, NodeView};

/// The best score: 100, in thousandths.
pub const FULL: i64 = 100_000;

/// Orders the nodes left over.
pub trait Score: Send + Sync {
    /// 0..=[`FULL`]; more is better.
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64;
}

/// Every score by the name that a profile gives it a weight by.
pub static SCORES: &[(&str, &dyn Score)] = &[
    ("Packed", &room::Packed),
    ("Free", &room::Free),
    ("Balanced", &room::Balanced),
    ("FewAlike", &room::FewAlike),
    ("NodeAffinity", &preferences::LikedLabels),
    ("TaintToleration", &preferences::FewTaints),
    ("PodTopologySpread", &company::EvenDomains),
    ("InterPodAffinity", &company::LikedCompany),
    ("ImageLocality", &images::ImagesPresent),
];
