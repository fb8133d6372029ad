//! Rules of a pod about other pods: affinity, anti-affinity, spreading over domains.

use k8s_openapi::api::core::v1 as k8s;

use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::terms::{Labels, Selector};

/// Pods to be near to or far from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NearRules {
    /// Some pod of each must be in the node's domain.
    pub required: Vec<NearTerm>,
    /// No pod of any may be.
    pub forbidden: Vec<NearTerm>,
    /// Each is worth its weight; those to be far from have negative ones.
    pub liked: Vec<(i32, NearTerm)>,
}

/// Some pods, and the label of nodes that says what near means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NearTerm {
    /// The node label whose value names a domain.
    pub key: String,
    selector: Selector,
    namespaces: Vec<String>,
    /// Further namespaces, by label.
    namespace_selector: Option<Selector>,
}

impl NearTerm {
    fn read(term: &k8s::PodAffinityTerm, own: &Labels, namespace: &str) -> NearTerm {
        let (same, other) = (term.match_label_keys.as_ref(), term.mismatch_label_keys.as_ref());
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        let by_label = term.namespace_selector.as_ref();
        if namespaces.is_empty() && by_label.is_none() {
            namespaces.push(namespace.into());
        }
        NearTerm {
            key: term.topology_key.clone(),
            selector: Selector::new(term.label_selector.as_ref(), own, same, other),
            namespaces,
            namespace_selector: by_label.map(|s| Selector::new(Some(s), own, None, None)),
        }
    }

    /// Whether that pod is meant.
    pub fn means(&self, pod: &Pod, snapshot: &Snapshot) -> bool {
        self.selector.matches(&pod.labels) && self.in_namespace(&pod.namespace, snapshot)
    }

    fn in_namespace(&self, namespace: &str, snapshot: &Snapshot) -> bool {
        self.namespaces.iter().any(|n| n == namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|s| s.matches(snapshot.namespace(namespace).unwrap_or(&Labels::new())))
    }
}

impl NearRules {
    /// Reads a pod's affinity to other pods.
    pub fn read(affinity: Option<&k8s::Affinity>, own: &Labels, namespace: &str) -> NearRules {
        let near = affinity.and_then(|a| a.pod_affinity.as_ref());
        let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
        let terms = |list: Option<&Vec<k8s::PodAffinityTerm>>| {
            list.into_iter().flatten().map(|t| NearTerm::read(t, own, namespace)).collect()
        };
        let weighted = |list: Option<&Vec<k8s::WeightedPodAffinityTerm>>, sign: i32| {
            let read = |t: &k8s::WeightedPodAffinityTerm| {
                (sign * t.weight, NearTerm::read(&t.pod_affinity_term, own, namespace))
            };
            list.into_iter().flatten().map(read).collect::<Vec<_>>()
        };
        let mut liked =
            weighted(near.and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        liked.extend(weighted(
            far.and_then(|f| f.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        NearRules {
            required: terms(
                near.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            forbidden: terms(
                far.and_then(|f| f.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            liked,
        }
    }

    /// No rules.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.forbidden.is_empty() && self.liked.is_empty()
    }
}

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

    /// Whether that pod is of the kind. Pods that are being deleted make room soon and do not count.
    pub fn means(&self, pod: &Pod) -> bool {
        !pod.terminating && self.selector.matches(&pod.labels)
    }
}
