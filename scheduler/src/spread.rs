//! How a pod wants its kind to be spread over domains.

use k8s_openapi::api::core::v1 as k8s;

use crate::terms::{Labels, Selector};

/// How a pod wants its kind to be spread over the domains that a node label names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpreadRule {
    /// The node label.
    pub key: String,
    /// How many more of its kind a domain may have than the emptiest one.
    pub max_skew: i64,
    /// A node that breaks the rule is refused, not just liked less.
    pub hard: bool,
    /// With fewer domains than these, the emptiest counts as having none.
    pub min_domains: usize,
    /// Nodes that the pod's node affinity leaves out count as no domain.
    pub honor_affinity: bool,
    /// The same for nodes whose taints it does not tolerate.
    pub honor_taints: bool,
    selector: Selector,
}

impl SpreadRule {
    /// Reads a constraint.
    pub fn read(constraint: &k8s::TopologySpreadConstraint, own: &Labels) -> SpreadRule {
        let same = constraint.match_label_keys.as_ref();
        SpreadRule {
            key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew.into(),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            min_domains: constraint.min_domains.and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector: Selector::new(constraint.label_selector.as_ref(), own, same, None),
        }
    }

    /// Whether a pod with these labels is of the kind.
    pub fn means(&self, labels: &Labels) -> bool {
        self.selector.matches(labels)
    }
}
