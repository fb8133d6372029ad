//! Rules of a pod about other pods: affinity and anti-affinity.

use k8s_openapi::api::core::v1 as k8s;

use crate::terms::{Labels, Namespaces, Selector};

/// Pods to be near to or far from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodAffinity {
    /// Some pod of each must be in the node's domain.
    pub required: Vec<PodTerm>,
    /// No pod of any may be.
    pub forbidden: Vec<PodTerm>,
    /// Each is worth its weight; those to be far from have negative ones.
    pub liked: Vec<(i32, PodTerm)>,
}

/// Some pods, and the label of nodes whose values are the domains: same value, same domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// The node label whose value names a domain.
    pub key: String,
    selector: Selector,
    namespaces: Vec<String>,
    /// Further namespaces, by label.
    namespace_selector: Option<Selector>,
}

impl PodTerm {
    fn read(term: &k8s::PodAffinityTerm, own: &Labels, namespace: &str) -> PodTerm {
        let (same, other) = (term.match_label_keys.as_ref(), term.mismatch_label_keys.as_ref());
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        let by_label = term.namespace_selector.as_ref();
        if namespaces.is_empty() && by_label.is_none() {
            namespaces.push(namespace.into());
        }
        PodTerm {
            key: term.topology_key.clone(),
            selector: Selector::new(term.label_selector.as_ref(), own, same, other),
            namespaces,
            namespace_selector: by_label.map(|s| Selector::new(Some(s), own, None, None)),
        }
    }

    /// Whether a pod with these labels, in this namespace, is meant.
    pub fn means(&self, labels: &Labels, namespace: &str, namespaces: &Namespaces) -> bool {
        self.selector.matches(labels) && self.in_namespace(namespace, namespaces)
    }

    fn in_namespace(&self, namespace: &str, namespaces: &Namespaces) -> bool {
        let by_label =
            |selector: &Selector| selector.matches(namespaces.get(namespace).unwrap_or(&Labels::new()));
        self.namespaces.iter().any(|n| n == namespace)
            || self.namespace_selector.as_ref().is_some_and(by_label)
    }
}

impl PodAffinity {
    /// Reads a pod's affinity to other pods.
    pub fn read(affinity: Option<&k8s::Affinity>, own: &Labels, namespace: &str) -> PodAffinity {
        let near = affinity.and_then(|a| a.pod_affinity.as_ref());
        let far = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
        let terms = |list: Option<&Vec<k8s::PodAffinityTerm>>| {
            list.into_iter().flatten().map(|t| PodTerm::read(t, own, namespace)).collect()
        };
        let weighted = |list: Option<&Vec<k8s::WeightedPodAffinityTerm>>, sign: i32| {
            let read = |t: &k8s::WeightedPodAffinityTerm| {
                (sign * t.weight, PodTerm::read(&t.pod_affinity_term, own, namespace))
            };
            list.into_iter().flatten().map(read).collect::<Vec<_>>()
        };
        let mut liked =
            weighted(near.and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref()), 1);
        liked.extend(weighted(
            far.and_then(|f| f.preferred_during_scheduling_ignored_during_execution.as_ref()),
            -1,
        ));
        PodAffinity {
            required: terms(
                near.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            forbidden: terms(
                far.and_then(|f| f.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            liked,
        }
    }

    /// Every term, whatever it asks for.
    pub fn terms(&self) -> impl Iterator<Item = &PodTerm> {
        let liked = self.liked.iter().map(|(_, term)| term);
        self.required.iter().chain(&self.forbidden).chain(liked)
    }

    /// No rules.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.forbidden.is_empty() && self.liked.is_empty()
    }
}
