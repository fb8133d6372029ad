//! A node as the scheduler sees it: what it is, and what is promised on it.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;

use crate::amounts::{Amounts, exact};
use crate::pod::{HostPort, Pod, Taint};
use crate::terms::Labels;

/// What a node's object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: Labels,
    /// What puts pods off.
    pub taints: Vec<Taint>,
    /// Cordoned.
    pub unschedulable: bool,
    /// What pods may ask for, all together.
    pub allocatable: Amounts,
    /// How many pods it takes.
    pub max_pods: i64,
    /// Sizes of the images that it has, by every name they go by.
    pub images: HashMap<String, i64>,
}

impl NodeFacts {
    /// Reads a node's object.
    pub fn read(object: &k8s::Node) -> NodeFacts {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let allocatable = status.allocatable.unwrap_or_default();
        let mut images = HashMap::new();
        for image in status.images.into_iter().flatten() {
            for name in image.names.into_iter().flatten() {
                images.insert(name, image.size_bytes.unwrap_or(0));
            }
        }
        NodeFacts {
            labels: object.metadata.labels.clone().unwrap_or_default(),
            taints: spec
                .taints
                .into_iter()
                .flatten()
                .map(|t| Taint { key: t.key, value: t.value.unwrap_or_default(), effect: t.effect })
                .collect(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            max_pods: allocatable.get("pods").map_or(0, |q| exact(q).value()),
            allocatable: Amounts::read(&allocatable),
            images,
        }
    }
}

/// A node and the pods on it. Requests count, not usage: a node is full when its promises are, even if it idles.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// What its object says; `None` while only pods speak of it.
    pub facts: Option<NodeFacts>,
    /// The pods bound to it, those that are being deleted included: they hold their room to the end.
    pub pods: Vec<Arc<Pod>>,
    /// What those pods asked for.
    pub used: Amounts,
    /// The same as the scores count it.
    pub weight: (i64, i64),
}

impl Node {
    /// A node without pods.
    pub fn new(name: Arc<str>) -> Node {
        Node { name, facts: None, pods: Vec::new(), used: Amounts::default(), weight: (0, 0) }
    }

    pub(crate) fn place(&mut self, pod: Arc<Pod>) {
        self.used.add(&pod.shape.requests);
        self.weight.0 += pod.shape.weight.0;
        self.weight.1 += pod.shape.weight.1;
        self.pods.push(pod);
    }

    pub(crate) fn displace(&mut self, pod: &Pod) {
        if let Some(at) = self.pods.iter().position(|p| p.key == pod.key) {
            let gone = self.pods.swap_remove(at);
            self.used.take(&gone.shape.requests);
            self.weight.0 -= gone.shape.weight.0;
            self.weight.1 -= gone.shape.weight.1;
        }
    }

    /// The ports taken on it.
    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.iter().flat_map(|p| &p.shape.ports)
    }
}
