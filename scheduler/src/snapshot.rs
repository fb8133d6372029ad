//! The cluster as the scheduler decides on it: kept by deltas, never rebuilt.

use std::collections::HashMap;
use std::sync::Arc;

use crate::changes::Changes;
use crate::node::{Node, NodeFacts};
use crate::pod::{Pod, PodKey, Shape};
use crate::terms::{Labels, Namespaces};

/// Where a node stands in [`Snapshot::nodes`].
pub type Slot = usize;

/// Nodes and the pods on them.
#[derive(Clone, Default)]
pub struct Snapshot {
    nodes: Vec<Node>,
    slots: HashMap<Arc<str>, Slot>,
    /// Every pod that holds room, and where.
    placed: HashMap<PodKey, (Slot, Arc<Pod>)>,
    /// Labels of the namespaces, for rules that name namespaces by label.
    namespaces: Namespaces,
    /// How many nodes exist.
    present: usize,
    /// The rules about other pods that placed pods have, each with the number of pods that have it. Pods of one template
    /// share a shape, so there are few.
    rules: HashMap<Arc<Shape>, usize>,
    /// The nodes that changed, in order, so that classes look again only at those.
    journal: Vec<Slot>,
    /// How many entries of the journal are forgotten.
    forgotten: usize,
}

impl Snapshot {
    /// Every node, also those that are gone while pods still speak of them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that exist, with what is known of each.
    pub fn present(&self) -> impl Iterator<Item = (Slot, &Node, &NodeFacts)> {
        self.nodes.iter().enumerate().filter_map(|(slot, node)| Some((slot, node, node.facts.as_ref()?)))
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.present
    }

    /// No node exists.
    pub fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.slots.get(name).map(|slot| &self.nodes[*slot])
    }

    /// A pod that holds room, and the node where.
    pub fn pod(&self, key: &str) -> Option<(&Node, &Arc<Pod>)> {
        self.placed.get(key).map(|(slot, pod)| (&self.nodes[*slot], pod))
    }

    /// The labels of all namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Whether some placed pod has a rule that means this one.
    pub fn has_rules_about(&self, pod: &Pod) -> bool {
        let means = |shape: &Arc<Shape>| {
            let mut terms = shape.pod_affinity.terms();
            terms.any(|term| term.means(&pod.labels, &pod.namespace, &self.namespaces))
        };
        self.rules.keys().any(means)
    }

    fn count_rules(&mut self, shape: &Arc<Shape>, more: bool) {
        if shape.pod_affinity.is_empty() {
            return;
        }
        let count = self.rules.entry(shape.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.rules.remove(shape);
        }
    }

    /// Takes in a node's object. Says what became different.
    pub fn set_node(&mut self, name: &str, facts: NodeFacts) -> Changes {
        let slot = self.slot(name);
        let changes = match &self.nodes[slot].facts {
            None => {
                self.present += 1;
                Changes::NODE_ADDED
            }
            Some(old) => old.changes_to(&facts),
        };
        if !changes.is_empty() || self.nodes[slot].facts.as_ref() != Some(&facts) {
            self.nodes[slot].facts = Some(facts);
            self.touch(slot);
        }
        changes
    }

    /// A node is gone. Its pods stay until they go themselves.
    pub fn remove_node(&mut self, name: &str) -> Changes {
        let Some(&slot) = self.slots.get(name) else { return Changes::default() };
        if self.nodes[slot].facts.take().is_none() {
            return Changes::default();
        }
        self.present -= 1;
        self.touch(slot);
        Changes::NODE_REMOVED
    }

    /// Takes in a namespace's labels, or that it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) -> Changes {
        let old = self.namespaces.get(name);
        if old == labels.as_ref() {
            return Changes::default();
        }
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
        Changes::NAMESPACE
    }

    /// A pod holds room on a node from now on, known or not. Says what that may mean to others.
    pub fn place(&mut self, pod: Arc<Pod>, node: &str) -> Changes {
        let slot = self.slot(node);
        let mut changes = Changes::POD_PLACED;
        if let Some((old_slot, old)) = self.placed.get(&pod.key) {
            if *old_slot == slot && **old == *pod {
                return Changes::default();
            }
            changes = if *old_slot != slot || old.shape != pod.shape {
                Changes::POD_PLACED | Changes::POD_GONE
            } else {
                Changes::POD_PLACED
            };
            if old.labels != pod.labels || old.terminating != pod.terminating {
                changes = changes | Changes::POD_LABELS;
            }
            self.displace(&pod.key);
        }
        self.count_rules(&pod.shape, true);
        self.nodes[slot].place(pod.clone());
        self.placed.insert(pod.key.clone(), (slot, pod));
        self.touch(slot);
        changes
    }

    /// A pod holds no room any more.
    pub fn displace(&mut self, key: &str) -> Changes {
        let Some((slot, pod)) = self.placed.remove(key) else { return Changes::default() };
        self.count_rules(&pod.shape, false);
        self.nodes[slot].displace(&pod);
        self.touch(slot);
        Changes::POD_GONE
    }

    /// The nodes that changed since a reader last asked, and the mark to ask with next time; `None` where too much was
    /// forgotten and the reader must look at all nodes again.
    pub fn changed_since(&self, mark: usize) -> (Option<&[Slot]>, usize) {
        let now = self.forgotten + self.journal.len();
        let changed = mark.checked_sub(self.forgotten).and_then(|from| self.journal.get(from..));
        (changed, now)
    }

    fn touch(&mut self, slot: Slot) {
        // A reader that is behind by more entries than there are nodes looks at all nodes instead: that costs less.
        if self.journal.len() >= 4 * self.nodes.len() + 64 {
            let half = self.journal.len() / 2;
            self.journal.drain(..half);
            self.forgotten += half;
        }
        self.journal.push(slot);
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let name: Arc<str> = name.into();
        // A slot that no pod refers to any more is reused: otherwise nodes that come and go would fill the list.
        let free = if self.nodes.len() > 2 * self.present + 64 {
            self.nodes.iter().position(|n| n.facts.is_none() && n.pods.is_empty())
        } else {
            None
        };
        let slot = match free {
            Some(slot) => {
                self.slots.remove(&self.nodes[slot].name);
                self.nodes[slot] = Node::new(name.clone());
                slot
            }
            None => {
                self.nodes.push(Node::new(name.clone()));
                self.nodes.len() - 1
            }
        };
        self.slots.insert(name, slot);
        slot
    }
}
