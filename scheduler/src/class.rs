//! Pods cut from one template are one class: its nodes are filtered and ordered once, and looked at again only where
//! they change. The cost of a further pod does not grow with the cluster.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::changes::Changes;
use crate::decide::{Decision, Outcome, Rank, contradiction, decide, judge};
use crate::filter::{Ask, FILTERS};
use crate::neighbours::Neighbours;
use crate::pod::{Pod, Shape};
use crate::profile::Profile;
use crate::sentence::sentence;
use crate::snapshot::{Slot, Snapshot};
use crate::view::NodeView;

/// How many classes are remembered. Each holds a few words for every node.
const MOST: usize = 64;

/// What is known of one class.
#[derive(Default)]
struct Class {
    outcomes: Vec<Option<Outcome>>,
    /// Those that fit, the best last.
    ranked: BTreeSet<(Rank, Slot)>,
    /// How far the snapshot's journal was read; `None`: every node is still to be looked at.
    mark: Option<usize>,
    /// Turn of its last use.
    used: u64,
    /// Why none fits, as long as no node changes.
    refusal: Option<Arc<Refusal>>,
}

/// Why no node takes a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Upstream's sentence.
    pub sentence: String,
    /// What would have to change before another look is worth while.
    pub helped_by: Changes,
}

/// The classes met lately.
pub struct Classes {
    profile: Profile,
    seed: u64,
    known: HashMap<Key, Class>,
    turn: u64,
}

/// Equal shapes are shared, so that their address tells them; the namespace counts because scores may look at it.
#[derive(PartialEq, Eq, Hash)]
struct Key(ByAddress, Arc<str>);

struct ByAddress(Arc<Shape>);

impl PartialEq for ByAddress {
    fn eq(&self, other: &ByAddress) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ByAddress {}

impl std::hash::Hash for ByAddress {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Classes {
    /// No class is known yet.
    pub fn new(profile: Profile, seed: u64) -> Classes {
        Classes { profile, seed, known: HashMap::new(), turn: 0 }
    }

    /// The profile in use.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The best node for a pod; the same that [`decide`] would choose, mostly without looking at all of them.
    pub fn choose(&mut self, pod: &Pod, snapshot: &Snapshot) -> Option<Slot> {
        if contradiction(pod).is_some() {
            return None;
        }
        if Neighbours::matter(pod, snapshot) {
            return decide(pod, snapshot, &self.profile, self.seed).node;
        }
        self.class(pod, snapshot).ranked.last().map(|(_, slot)| *slot)
    }

    /// What became of each node, to be explained.
    pub fn explain(&mut self, pod: &Pod, snapshot: &Snapshot) -> Decision {
        if contradiction(pod).is_some() || Neighbours::matter(pod, snapshot) {
            return decide(pod, snapshot, &self.profile, self.seed);
        }
        let class = self.class(pod, snapshot);
        let verdicts = class.outcomes.iter().enumerate().filter_map(|(slot, o)| Some((slot, (*o)?)));
        Decision {
            node: class.ranked.last().map(|(_, slot)| *slot),
            verdicts: verdicts.collect(),
            early: None,
        }
    }

    /// Why no node takes a pod that [`Classes::choose`] found none for.
    pub fn refusal(&mut self, pod: &Pod, snapshot: &Snapshot) -> Arc<Refusal> {
        let shared = contradiction(pod).is_none() && !Neighbours::matter(pod, snapshot);
        if shared && let Some(refusal) = &self.class(pod, snapshot).refusal {
            return refusal.clone();
        }
        let decision = self.explain(pod, snapshot);
        let filters = decision.verdicts.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Refused(index, _) => FILTERS.get(*index),
            Outcome::Fits(_) => None,
        });
        let helped_by = filters.fold(Changes::NODE_ADDED, |all, (_, filter)| all | filter.helped_by());
        let sentence = sentence(pod, &decision, snapshot.len());
        let refusal = Arc::new(Refusal { sentence, helped_by });
        if shared && let Some(class) = self.known.get_mut(&key(pod)) {
            class.refusal = Some(refusal.clone());
        }
        refusal
    }

    /// The best nodes for a pod, the best first, with what they scored.
    pub fn best(&mut self, pod: &Pod, snapshot: &Snapshot, most: usize) -> Vec<(Slot, Rank)> {
        if Neighbours::matter(pod, snapshot) {
            return Vec::new();
        }
        self.class(pod, snapshot).ranked.iter().rev().take(most).map(|(rank, slot)| (*slot, *rank)).collect()
    }

    fn class(&mut self, pod: &Pod, snapshot: &Snapshot) -> &Class {
        self.turn += 1;
        let key = key(pod);
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            let oldest = self.known.values().map(|c| c.used).min().unwrap_or(0);
            self.known.retain(|_, class| class.used != oldest);
        }
        let class = self.known.entry(key).or_default();
        class.used = self.turn;
        class.catch_up(pod, snapshot, &self.profile, self.seed);
        class
    }
}

fn key(pod: &Pod) -> Key {
    Key(ByAddress(pod.shape.clone()), pod.namespace.clone())
}

impl Class {
    fn catch_up(&mut self, pod: &Pod, snapshot: &Snapshot, profile: &Profile, seed: u64) {
        let neighbours = Neighbours::default();
        let ask = Ask { pod, neighbours: &neighbours };
        let (changed, now) = snapshot.changed_since(self.mark.unwrap_or(0));
        let changed = self.mark.and(changed);
        self.mark = Some(now);
        self.outcomes.resize(snapshot.nodes().len(), None);
        match changed {
            Some(slots) => {
                for slot in slots {
                    self.look(*slot, &ask, snapshot, profile, seed);
                }
            }
            None => {
                for slot in 0..snapshot.nodes().len() {
                    self.look(slot, &ask, snapshot, profile, seed);
                }
            }
        }
    }

    fn look(&mut self, slot: Slot, ask: &Ask<'_>, snapshot: &Snapshot, profile: &Profile, seed: u64) {
        let node = &snapshot.nodes()[slot];
        let outcome = node.facts.as_ref().map(|facts| judge(ask, NodeView { node, facts }, profile, seed));
        if let Some(Outcome::Fits(rank)) = self.outcomes[slot] {
            self.ranked.remove(&(rank, slot));
        }
        if let Some(Outcome::Fits(rank)) = outcome {
            self.ranked.insert((rank, slot));
        }
        self.outcomes[slot] = outcome;
        self.refusal = None;
    }
}
