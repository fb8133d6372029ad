//! Scores order the nodes that the filters left. Each is 0..=100 in thousandths, so that a weight means the same
//! everywhere and nearly equal nodes still differ; each looks at one node only, so that a node's score stays good until
//! that node changes.

mod contract;
mod images;
mod neighbours;
mod preferences;
mod room;

pub use contract::{FULL, Score};

/// Every score by the name that a profile gives it a weight by.
pub static SCORES: &[(&str, &dyn Score)] = &[
    ("Packed", &room::Packed),
    ("Free", &room::Free),
    ("Balanced", &room::Balanced),
    ("FewAlike", &room::FewAlike),
    ("NodeAffinity", &preferences::LikedLabels),
    ("TaintToleration", &preferences::FewTaints),
    ("PodTopologySpread", &neighbours::EvenDomains),
    ("InterPodAffinity", &neighbours::PreferredPods),
    ("ImageLocality", &images::ImagesPresent),
];
