//! What the scheduler knows and decides, without any I/O: events go in, rounds of decisions come out, and the outcomes
//! of their writes come back in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Revision;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;

use crate::changes::Changes;
use crate::class::Classes;
use crate::explain::{self, About, Verdict};
use crate::node::NodeFacts;
use crate::pod::{Pod, PodKey, Read, Shapes};
use crate::profile::{Config, ConfigError};
use crate::queue::Queue;
use crate::snapshot::Snapshot;
use crate::terms::Labels;

/// A pod that stays without a node for the same reason is explained anew no more often than this.
const EXPLAIN_AGAIN: Duration = Duration::from_secs(2);

/// Everything the scheduler knows.
pub struct Brain {
    name: String,
    seed: u64,
    snapshot: Snapshot,
    queue: Queue,
    shapes: Shapes,
    classes: Classes,
    waiting: HashMap<PodKey, Waiting>,
    /// Pods that were given a node here, while their object does not show it yet: the uid.
    assumed: HashMap<PodKey, Arc<str>>,
}

/// What is known of a pod that waits for a node, beyond what decides where it goes.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`, which distinguishes it from an earlier pod of the same name.
    pub uid: String,
    /// Its `metadata.resourceVersion`.
    pub revision: Revision,
    /// Its `metadata.generation`.
    pub generation: Option<i64>,
    /// What its `PodScheduled` condition says: status, reason, message.
    condition: Option<(String, String, String)>,
    /// The change that woke it since, if one did.
    woken_by: Option<Revision>,
    attempts: u32,
    explained: Option<Timestamp>,
}

impl Waiting {
    /// What made the scheduler look at it.
    pub fn causes(&self) -> Vec<Revision> {
        let mut causes = vec![self.revision];
        causes.extend(self.woken_by.filter(|r| *r != self.revision));
        causes
    }
}

/// What a pod's turn came to, to be written.
#[derive(Debug)]
pub struct Turn {
    /// Whose.
    pub key: PodKey,
    /// What is known of it.
    pub pod: Waiting,
    /// The node it is to be bound to, or why there is none.
    pub outcome: Result<Arc<str>, Refused>,
    /// To be reported.
    pub verdict: Option<Verdict>,
}

/// A pod without a node.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// Upstream's sentence.
    pub message: String,
    /// The pod's condition does not say so yet.
    pub is_news: bool,
    /// The condition was not False before: its time of transition is now.
    pub turns_false: bool,
}

impl Brain {
    /// Knows nothing yet.
    ///
    /// # Errors
    /// A profile or score that does not exist.
    pub fn new(config: &Config) -> Result<Brain, ConfigError> {
        Ok(Brain {
            name: config.scheduler_name.clone(),
            seed: config.seed,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            shapes: Shapes::default(),
            classes: Classes::new(config.chosen()?, config.seed),
            waiting: HashMap::new(),
            assumed: HashMap::new(),
        })
    }

    /// The cluster as the next decision will see it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// A node's new state; `None`: gone.
    pub fn node(&mut self, name: &str, object: Option<&k8s::Node>, revision: Revision, now: Timestamp) {
        let changes = match object {
            Some(object) => self.snapshot.set_node(name, NodeFacts::read(object)),
            None => self.snapshot.remove_node(name),
        };
        self.wake(changes, revision, now);
    }

    /// A namespace's labels; `None`: gone.
    pub fn namespace(&mut self, name: &str, labels: Option<Labels>, revision: Revision, now: Timestamp) {
        let changes = self.snapshot.set_namespace(name, labels);
        self.wake(changes, revision, now);
    }

    /// A pod's new state.
    pub fn pod(&mut self, object: &k8s::Pod, revision: Revision, now: Timestamp) {
        let Read { pod, scheduler, gated, ended } = self.shapes.read(object);
        let key = pod.key.clone();
        if self.assumed.get(&key).is_some_and(|uid| *uid != pod.uid) {
            self.assumed.remove(&key);
            self.forget_room(&key, revision, now);
        }
        if ended {
            self.gone(&key, revision, now);
        } else if let Some(node) = pod.node.clone() {
            self.assumed.remove(&key);
            self.stop_waiting(&key);
            let changes = self.snapshot.place(Arc::new(pod), &node);
            self.wake(changes, revision, now);
        } else if scheduler != self.name || gated || pod.terminating {
            self.stop_waiting(&key);
        } else if !self.assumed.contains_key(&key) {
            self.forget_room(&key, revision, now);
            self.wait(object, Arc::new(pod), revision);
        }
    }

    /// A pod is gone, or has ended.
    pub fn gone(&mut self, key: &str, revision: Revision, now: Timestamp) {
        self.assumed.remove(key);
        self.stop_waiting(key);
        self.forget_room(key, revision, now);
    }

    fn forget_room(&mut self, key: &str, revision: Revision, now: Timestamp) {
        let changes = self.snapshot.displace(key);
        self.wake(changes, revision, now);
    }

    fn stop_waiting(&mut self, key: &str) {
        self.queue.remove(key);
        self.waiting.remove(key);
    }

    fn wait(&mut self, object: &k8s::Pod, pod: Arc<Pod>, revision: Revision) {
        let meta = &object.metadata;
        let conditions = object.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let condition = conditions.into_iter().find(|c| c.type_ == "PodScheduled").map(|c| {
            (c.status.clone(), c.reason.clone().unwrap_or_default(), c.message.clone().unwrap_or_default())
        });
        let old = self.waiting.get(&pod.key).filter(|old| *old.uid == *pod.uid);
        let (attempts, explained, woken_by) =
            old.map_or((0, None, None), |w| (w.attempts, w.explained, w.woken_by));
        let waiting = Waiting {
            namespace: pod.namespace.to_string(),
            name: meta.name.clone().unwrap_or_default(),
            uid: pod.uid.to_string(),
            revision,
            generation: meta.generation,
            condition,
            woken_by,
            attempts,
            explained,
        };
        self.waiting.insert(pod.key.clone(), waiting);
        self.queue.offer(pod);
    }

    fn wake(&mut self, changes: Changes, revision: Revision, now: Timestamp) {
        let waiting = &mut self.waiting;
        self.queue.wake(changes, now, |key| {
            if let Some(pod) = waiting.get_mut(key) {
                pod.woken_by = Some(revision);
            }
        });
    }

    /// Brings back the pods that are due, and says when the next will be, unless some are ready now.
    pub fn tick(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.queue.tick(now)
    }

    /// Whether a round would decide anything.
    pub fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    /// Decides on up to `most` pods. The room of each is taken at once, so that the next one sees it.
    pub fn round(&mut self, most: usize, now: Timestamp) -> Vec<Turn> {
        let mut turns = Vec::new();
        while turns.len() < most {
            let Some(pod) = self.queue.pop() else { break };
            let Some(mut known) = self.waiting.remove(&pod.key) else {
                self.queue.remove(&pod.key);
                continue;
            };
            known.attempts = known.attempts.saturating_add(1);
            let turn = self.turn(&pod, known, now);
            self.waiting.insert(pod.key.clone(), turn.pod.clone());
            turns.push(turn);
        }
        turns
    }

    fn turn(&mut self, pod: &Arc<Pod>, mut known: Waiting, now: Timestamp) -> Turn {
        let about = About { time: now, attempt: known.attempts, seed: self.seed, message: None };
        let Some(slot) = self.classes.choose(pod, &self.snapshot) else {
            let refusal = self.classes.refusal(pod, &self.snapshot);
            let says = |reason: &str, message: &str| {
                known.condition.as_ref().is_some_and(|(s, r, m)| s == "False" && r == reason && m == message)
            };
            let is_news = !says("Unschedulable", &refusal.sentence);
            let turns_false = known.condition.as_ref().is_none_or(|(status, _, _)| status != "False");
            let stale =
                known.explained.is_none_or(|at| now.duration_since(at).unsigned_abs() > EXPLAIN_AGAIN);
            let verdict = (is_news || stale).then(|| {
                let decision = self.classes.explain(pod, &self.snapshot);
                let about = About { message: Some(&refusal.sentence), ..about };
                explain::refused(pod, &decision, self.classes.profile(), &self.snapshot, &about)
            });
            if verdict.is_some() {
                known.explained = Some(now);
            }
            self.queue.refused(&pod.key, refusal.helped_by, now);
            // Said once is enough, even before the watch brings the condition back.
            known.condition = Some(("False".into(), "Unschedulable".into(), refusal.sentence.clone()));
            let refused = Refused { message: refusal.sentence.clone(), is_news, turns_false };
            return Turn { key: pod.key.clone(), pod: known, outcome: Err(refused), verdict };
        };
        let verdict = explain::placed(pod, slot, &mut self.classes, &self.snapshot, &about);
        let node = self.snapshot.nodes()[slot].name.clone();
        let placed = Pod { node: Some(node.clone()), ..Pod::clone(pod) };
        self.assumed.insert(pod.key.clone(), pod.uid.clone());
        let changes = self.snapshot.place(Arc::new(placed), &node);
        self.wake(changes, known.revision, now);
        Turn { key: pod.key.clone(), pod: known, outcome: Ok(node), verdict: Some(verdict) }
    }

    /// A binding is on disk. Its pod waits no more; the watch will show it bound.
    pub fn bound(&mut self, key: &str, uid: &str) {
        if self.waiting.get(key).is_some_and(|w| w.uid == uid) {
            self.stop_waiting(key);
        }
    }

    /// A binding was refused, or its fate is unknown: the room is free again, and the pod comes back after a while. If
    /// it was bound after all, the watch shows it.
    pub fn unbound(&mut self, key: &str, uid: &str, now: Timestamp) {
        if self.assumed.get(key).is_none_or(|assumed| **assumed != *uid) {
            return;
        }
        self.assumed.remove(key);
        self.queue.refused(key, Changes::default(), now);
        let revision = self.waiting.get(key).map_or(Revision(0), |w| w.revision);
        self.forget_room(key, revision, now);
    }

    /// A refusal could not be written into the pod's condition: say it again next time.
    pub fn unsaid(&mut self, key: &str, uid: &str) {
        if let Some(known) = self.waiting.get_mut(key).filter(|w| w.uid == uid) {
            known.condition = None;
        }
    }
}
