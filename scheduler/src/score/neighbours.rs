//! Scores by where other pods are.

use super::contract::{FULL, Score};
use crate::filter::Ask;
use crate::view::NodeView;

/// Topology spread constraints that need not hold: the emptier the domain, the better.
pub struct EvenDomains;

/// Preferred affinity and anti-affinity between pods, in both directions.
pub struct PreferredPods;

impl Score for EvenDomains {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        let rules = ask.pod.shape.spread.iter().zip(&ask.neighbours.spread).filter(|(rule, _)| !rule.hard);
        let (mut sum, mut count) = (0, 0);
        for (rule, domains) in rules {
            count += 1;
            // A node without the label is in no domain: worst.
            let Some(domain) = view.facts.labels.get(&rule.key) else { continue };
            let here = domains.counts.get(domain).copied().unwrap_or(0);
            let range = domains.most - domains.least;
            sum += if range == 0 { FULL } else { (domains.most - here).clamp(0, range) * FULL / range };
        }
        if count == 0 { 0 } else { sum / count }
    }
}

impl Score for PreferredPods {
    fn score(&self, ask: &Ask<'_>, view: NodeView<'_>) -> i64 {
        if ask.neighbours.liked.is_empty() {
            return 0;
        }
        let (least, most) = ask.neighbours.liked_range;
        let worth = ask.neighbours.worth(&view.facts.labels).clamp(least, most);
        if most == least { 0 } else { (worth - least) * FULL / (most - least) }
    }
}
