//! A pod as the scheduler sees it: computed once from the object, compact, and shared.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::podspec::host_ports::{HostPort, host_ports};
use k8s_openapi::api::core::v1 as k8s;

use crate::amounts::{self, Amounts};
use crate::pod_affinity::PodAffinity;
use crate::spread::SpreadRule;
use crate::terms::{Labels, NodeTerm};

/// `namespace/name`.
pub type PodKey = Arc<str>;

/// What distinguishes one pod from the others of its class, and the class.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// `namespace/name`.
    pub key: PodKey,
    /// Tells a pod from a later namesake.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Being deleted.
    pub terminating: bool,
    /// All that the filters and scores ask about; equal for pods cut from one template.
    pub shape: Arc<Shape>,
}

/// Everything about a pod that decides which nodes suit it. Pods of one shape are one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Higher goes first.
    pub priority: i32,
    /// It may not push others out.
    pub never_preempts: bool,
    /// What it needs.
    pub requests: Amounts,
    /// Cpu and memory as the scores count them.
    pub weight: (i64, i64),
    /// Ports of the node that it takes.
    pub ports: Vec<HostPort>,
    /// `nodeSelector`, sorted.
    pub node_selector: Vec<(String, String)>,
    /// Required node affinity: one of these terms.
    pub required: Option<Vec<NodeTerm>>,
    /// The only nodes whose names the required affinity leaves.
    pub only_nodes: Option<Vec<String>>,
    /// Preferred node affinity, with weights.
    pub preferred: Vec<(i32, NodeTerm)>,
    /// The taints that do not keep it away.
    pub tolerations: Vec<Toleration>,
    /// Its containers' images.
    pub images: Vec<String>,
    /// Pods it wants to be near to, or far from.
    pub pod_affinity: PodAffinity,
    /// How it wants its kind to be spread.
    pub spread: Vec<SpreadRule>,
}

/// The taints that a pod tolerates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    key: String,
    /// `None`: any value.
    value: Option<String>,
    /// Empty: any effect.
    effect: String,
}

impl Toleration {
    /// Whether the taint does not matter. An empty key with any value tolerates everything.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
    }
}

/// What keeps pods away from a node, unless they tolerate it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Often empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: String,
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect),
            value => write!(f, "{}={value}:{}", self.key, self.effect),
        }
    }
}

/// What a pod's object says about the scheduler's part in it.
pub struct Read {
    /// The pod, as the filters see it.
    pub pod: Pod,
    /// Who is to schedule it.
    pub scheduler: String,
    /// It waits for somebody to remove a gate.
    pub gated: bool,
    /// It has ended: it takes no room any more.
    pub ended: bool,
}

/// Shares equal shapes, so that equal pods are recognized by one pointer.
#[derive(Default)]
pub struct Shapes {
    seen: HashMap<Arc<Shape>, ()>,
    /// Sweep when there are this many.
    sweep_at: usize,
}

impl Shapes {
    /// Reads a pod's object.
    pub fn read(&mut self, object: &k8s::Pod) -> Read {
        let meta = &object.metadata;
        let none = k8s::PodSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&none);
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace: Arc<str> = meta.namespace.as_deref().unwrap_or_default().into();
        let phase = object.status.as_ref().and_then(|s| s.phase.as_deref());
        let shape = self.share(shape(spec, &labels, &namespace));
        Read {
            pod: Pod {
                key: format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default()).into(),
                uid: meta.uid.as_deref().unwrap_or_default().into(),
                namespace,
                labels: Arc::new(labels),
                node: spec.node_name.as_deref().filter(|n| !n.is_empty()).map(Into::into),
                terminating: meta.deletion_timestamp.is_some(),
                shape,
            },
            scheduler: spec.scheduler_name.clone().unwrap_or_default(),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            ended: matches!(phase, Some("Succeeded" | "Failed")),
        }
    }

    fn share(&mut self, shape: Shape) -> Arc<Shape> {
        if let Some((shared, ())) = self.seen.get_key_value(&shape) {
            return shared.clone();
        }
        if self.seen.len() >= self.sweep_at {
            self.seen.retain(|shape, ()| Arc::strong_count(shape) > 1);
            self.sweep_at = 2 * self.seen.len() + 256;
        }
        let shared = Arc::new(shape);
        self.seen.insert(shared.clone(), ());
        shared
    }
}

fn shape(spec: &k8s::PodSpec, labels: &Labels, namespace: &str) -> Shape {
    let affinity = spec.affinity.as_ref();
    let node = affinity.and_then(|a| a.node_affinity.as_ref());
    let terms = node.and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
    let required: Option<Vec<NodeTerm>> =
        terms.map(|s| s.node_selector_terms.iter().map(NodeTerm::new).collect());
    let preferred = node.and_then(|n| n.preferred_during_scheduling_ignored_during_execution.as_ref());
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let requests = amounts::requests(spec);
    Shape {
        priority: spec.priority.unwrap_or(0),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        weight: amounts::weight(spec, &requests),
        requests,
        ports: host_ports(spec),
        node_selector: spec.node_selector.clone().unwrap_or_default().into_iter().collect(),
        only_nodes: required.as_deref().and_then(only_nodes),
        required,
        preferred: preferred
            .into_iter()
            .flatten()
            .map(|p| (p.weight, NodeTerm::new(&p.preference)))
            .collect(),
        tolerations: spec.tolerations.iter().flatten().map(toleration).collect(),
        images: containers().filter_map(|c| c.image.clone()).collect(),
        pod_affinity: PodAffinity::read(affinity, labels, namespace),
        spread: spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .map(|c| SpreadRule::read(c, labels))
            .collect(),
    }
}

/// The nodes that terms leave by name, where every term names some.
fn only_nodes(terms: &[NodeTerm]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for term in terms {
        names.extend(term.only_names()?.into_iter().map(String::from));
    }
    (!terms.is_empty()).then_some(names)
}

fn toleration(t: &k8s::Toleration) -> Toleration {
    Toleration {
        key: t.key.clone().unwrap_or_default(),
        value: (t.operator.as_deref() != Some("Exists")).then(|| t.value.clone().unwrap_or_default()),
        effect: t.effect.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations() {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() };
        let cases = [
            (json!({ "key": "k", "operator": "Exists" }), true),
            (json!({ "key": "k", "value": "v" }), true),
            (json!({ "key": "k", "operator": "Equal", "value": "w" }), false),
            (json!({ "key": "k", "operator": "Exists", "effect": "NoExecute" }), false),
            (json!({ "operator": "Exists" }), true),
            (json!({ "key": "j", "operator": "Exists" }), false),
        ];
        for (value, expected) in cases {
            let read = toleration(&serde_json::from_value(value.clone()).expect("a toleration"));
            assert_eq!(read.tolerates(&taint), expected, "{value}");
        }
    }

    #[test]
    fn pods_of_one_template_share_a_shape() {
        let pod = |name: &str, cpu: &str| {
            serde_json::from_value(json!({
                "metadata": { "name": name, "namespace": "d", "labels": { "pod": name } },
                "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
            }))
            .expect("a pod")
        };
        let mut shapes = Shapes::default();
        let (a, b, c) =
            (shapes.read(&pod("a", "1")), shapes.read(&pod("b", "1")), shapes.read(&pod("c", "2")));
        assert!(Arc::ptr_eq(&a.pod.shape, &b.pod.shape));
        assert!(!Arc::ptr_eq(&a.pod.shape, &c.pod.shape));
    }
}
