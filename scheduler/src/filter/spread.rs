//! Topology spread constraints that must hold.

use super::contract::{Ask, Filter};
use super::reason::Reason;
use crate::changes::Changes;
use crate::pod::Shape;
use crate::view::NodeView;

/// No domain may have more pods of a kind than `maxSkew` above the emptiest.
pub struct KeepsSkew;

impl Filter for KeepsSkew {
    fn check(&self, ask: &Ask<'_>, view: NodeView<'_>) -> Result<(), Reason> {
        let rules = ask.pod.shape.spread.iter().enumerate().filter(|(_, rule)| rule.hard);
        for (i, rule) in rules {
            let Some(domain) = view.facts.labels.get(&rule.key) else { return Err(Reason::NoDomain) };
            let Some(domains) = ask.neighbours.spread.get(i) else { continue };
            let here = domains.counts.get(domain).copied().unwrap_or(0);
            if here + domains.itself - domains.least > rule.max_skew {
                return Err(Reason::TooSkewed(i));
            }
        }
        Ok(())
    }

    fn helped_by(&self) -> Changes {
        Changes::NODE_ADDED
            | Changes::NODE_REMOVED
            | Changes::NODE_LABELS
            | Changes::NODE_TAINTS
            | Changes::POD_GONE
            | Changes::POD_PLACED
            | Changes::POD_LABELS
    }
}

/// Which label is missing.
pub fn missing(shape: &Shape, view: NodeView<'_>) -> String {
    let key = shape.spread.iter().find(|r| r.hard && !view.facts.labels.contains_key(&r.key)).map(|r| &r.key);
    format!("has no label {}, over which the pod wants to be spread", key.map_or("", String::as_str))
}

/// How full the domain is.
pub fn detail(ask: &Ask<'_>, index: usize, view: NodeView<'_>) -> String {
    let (Some(rule), Some(domains)) = (ask.pod.shape.spread.get(index), ask.neighbours.spread.get(index))
    else {
        return "too full a domain".into();
    };
    let domain = view.facts.labels.get(&rule.key).map_or("", String::as_str);
    let here = domains.counts.get(domain).copied().unwrap_or(0);
    format!("{}={domain} has {here}, the emptiest {}, maxSkew is {}", rule.key, domains.least, rule.max_skew)
}
