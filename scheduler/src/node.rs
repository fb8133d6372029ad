//! A node as the scheduler sees it: what it is, and what is promised on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use coracle_api::podspec::host_ports::HostPort;
use k8s_openapi::api::core::v1 as k8s;

use crate::amounts::{Amounts, exact};
use crate::changes::Changes;
use crate::pod::{Pod, Taint};
use crate::terms::Labels;

/// What a node's object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Its labels.
    pub labels: Labels,
    /// What keeps pods away.
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
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let none = BTreeMap::new();
        let allocatable = status.and_then(|status| status.allocatable.as_ref()).unwrap_or(&none);
        let mut images = HashMap::new();
        for image in status.into_iter().flat_map(|status| status.images.iter().flatten()) {
            for name in image.names.iter().flatten() {
                images.insert(name.clone(), image.size_bytes.unwrap_or(0));
            }
        }
        let taint = |t: &k8s::Taint| Taint {
            key: t.key.clone(),
            value: t.value.clone().unwrap_or_default(),
            effect: t.effect.clone(),
        };
        NodeFacts {
            labels: object.metadata.labels.clone().unwrap_or_default(),
            taints: spec.into_iter().flat_map(|spec| spec.taints.iter().flatten()).map(taint).collect(),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            max_pods: allocatable.get("pods").map_or(0, |q| exact(q).value()),
            allocatable: Amounts::read(allocatable),
            images,
        }
    }

    /// What is different about the node's next state, as far as it can help a pod.
    pub fn changes_to(&self, new: &NodeFacts) -> Changes {
        let room = self.allocatable != new.allocatable || self.max_pods != new.max_pods;
        Changes::NODE_LABELS.when(self.labels != new.labels)
            | Changes::NODE_TAINTS.when(self.taints != new.taints)
            | Changes::NODE_UNCORDONED.when(self.unschedulable && !new.unschedulable)
            | Changes::NODE_ROOM.when(room)
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
