//! How fast nodes may lose their pods: slowly, so that a fault of the control plane does not empty the cluster.

use std::collections::{BTreeMap, BTreeSet};
#[cfg(test)]
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;

use super::health::{has_failed, ready};
use super::taints::Eviction;
use crate::workload::name;
use crate::{Timing, time};

/// Region and zone of a node.
pub type Zone = (String, String);

/// Where a node is.
pub fn zone(node: &Node) -> Zone {
    let label = |key: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
    };
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// How many nodes of a zone are ready, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    ready: usize,
    failed: usize,
}

/// The zones' health, counted node by node as they change.
#[derive(Default)]
pub struct Zones {
    counts: BTreeMap<Zone, Count>,
    /// The nodes that say, or of which it is said, that they are not ready.
    failed: BTreeSet<String>,
}

impl Zones {
    /// Counts all of these nodes.
    #[cfg(test)]
    fn of(nodes: &[Arc<Node>]) -> Zones {
        let mut zones = Zones::default();
        nodes.iter().for_each(|node| zones.note(None, Some(node)));
        zones
    }

    /// Takes in a change of one node.
    pub fn note(&mut self, old: Option<&Node>, new: Option<&Node>) {
        if let Some(old) = old {
            self.failed.remove(name(&old.metadata));
            let count = self.counts.entry(zone(old)).or_default();
            if ready(old) == Some("True") { count.ready -= 1 } else { count.failed -= 1 }
        }
        if let Some(new) = new {
            if has_failed(new) {
                self.failed.insert(name(&new.metadata).to_owned());
            }
            let count = self.counts.entry(zone(new)).or_default();
            if ready(new) == Some("True") { count.ready += 1 } else { count.failed += 1 }
        }
    }

    /// The nodes that are known not to be ready.
    pub fn failed(&self) -> impl Iterator<Item = &String> {
        self.failed.iter()
    }

    /// How many nodes a second may lose their pods in a zone; `None` if no node is ready anywhere.
    pub fn rate(&self, zone: &Zone, timing: &Timing) -> Option<f64> {
        if self.counts.values().all(|count| count.ready == 0) {
            return None;
        }
        let Count { ready, failed } = self.counts.get(zone).copied().unwrap_or_default();
        let share = failed as f64 / (ready + failed).max(1) as f64;
        if ready == 0 || failed <= 2 || share < timing.unhealthy_zone {
            return Some(timing.eviction_rate);
        }
        Some(if ready + failed > timing.large_zone { timing.reduced_eviction_rate } else { 0.0 })
    }
}

/// When each zone last lost a node, and which.
#[derive(Debug, Default)]
pub struct Pace(BTreeMap<Zone, (Timestamp, String)>);

/// How long to wait for a zone that may not lose any node now.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Pace {
    /// Whether this node of a zone may lose its pods at this rate, which counts as a loss if it may; else when to ask again.
    /// A node that was given leave and asks again, because its taint could not be written, keeps it.
    pub fn ask(
        &mut self,
        zone: Zone,
        node: &str,
        rate: Option<f64>,
        now: Timestamp,
    ) -> (Eviction, Option<Duration>) {
        let Some(rate) = rate else { return (Eviction::Off, None) };
        if rate <= 0.0 {
            return (Eviction::Later, Some(ASK_AGAIN));
        }
        let interval = SignedDuration::try_from_secs_f64(1.0 / rate).unwrap_or(SignedDuration::MAX);
        let last = self.0.get(&zone).filter(|(_, lost)| lost != node);
        let next = last.and_then(|(at, _)| at.checked_add(interval).ok());
        match next.filter(|next| *next > now) {
            Some(next) => (Eviction::Later, Some(time::until(next, now))),
            None => {
                self.0.insert(zone, (now, node.to_owned()));
                (Eviction::Allowed, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn nodes(zone: &str, ready: usize, failed: usize) -> Vec<Arc<Node>> {
        let node = |status: &str| {
            let labels = json!({"topology.kubernetes.io/zone": zone});
            let status = json!({"conditions": [{"type": "Ready", "status": status}]});
            Arc::new(
                serde_json::from_value(json!({"metadata": {"labels": labels}, "status": status}))
                    .expect("a node"),
            )
        };
        (0..ready).map(|_| node("True")).chain((0..failed).map(|_| node("Unknown"))).collect()
    }

    #[test]
    fn a_failing_zone_slows_down_and_a_dead_cluster_stops() {
        let timing = Timing::kubernetes();
        let cases = [
            ("one of many", nodes("a", 4, 1), Some(0.1)),
            ("two of two", [nodes("a", 0, 2), nodes("b", 1, 0)].concat(), Some(0.1)),
            ("most of a small zone", nodes("a", 2, 4), Some(0.0)),
            ("most of a large zone", nodes("a", 20, 40), Some(0.01)),
            ("all of all", nodes("a", 0, 3), None),
        ];
        for (name, nodes, expected) in cases {
            let zone = (String::new(), "a".to_owned());
            assert_eq!(Zones::of(&nodes).rate(&zone, &timing), expected, "case: {name}");
        }
    }

    #[test]
    fn one_node_at_a_time() {
        let zone = (String::new(), String::new());
        let mut pace = Pace::default();
        assert_eq!(pace.ask(zone.clone(), "a", Some(0.1), testing::time(0).0), (Eviction::Allowed, None));
        let again = pace.ask(zone.clone(), "a", Some(0.1), testing::time(1).0);
        assert_eq!(again, (Eviction::Allowed, None), "its taint could not be written");
        let wait = Some(Duration::from_secs(7));
        assert_eq!(pace.ask(zone.clone(), "b", Some(0.1), testing::time(4).0), (Eviction::Later, wait));
        assert_eq!(pace.ask(zone, "b", Some(0.1), testing::time(11).0), (Eviction::Allowed, None));
    }
}
