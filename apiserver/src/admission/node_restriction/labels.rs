//! Which labels nodes may set on themselves.

use serde_json::Value;

/// Labels that a node may set although their names belong to Kubernetes. Anything outside of `kubernetes.io` and `k8s.io` is free.
///
/// Source: `k8s.io/kubelet/pkg/apis/well_known_labels.go`.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// The same, for whole families of names.
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Labels by which administrators isolate nodes: no node may set or remove them.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// The labels that differ and are not for a node to decide, sorted.
pub fn forbidden_labels(old: &Value, new: &Value) -> Vec<String> {
    let names = |labels: &Value| -> Vec<String> {
        labels.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let mut all = [names(old), names(new)].concat();
    all.retain(|name| old.get(name) != new.get(name) && !may_set(name));
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a label is one that nodes may set on themselves.
fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTED_DOMAIN) {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes || OWN_LABELS.contains(&label) || OWN_LABEL_DOMAINS.into_iter().any(within)
}
