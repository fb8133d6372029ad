//! Takes away the pods of tainted nodes when the time is up for which they tolerate the taints.
//!
//! ```text
//! [Node] [Pod] --watch--> NoExecute not tolerated (any more)? --> condition DisruptionTarget, delete
//! ```

mod deadlines;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Key;
use coracle_client::{
    Action, Change, Controller, Ctx, Error, Index, NewEvent, Op, Plan, Store, Typed, Wakes,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use parking_lot::Mutex;

use self::deadlines::{Deadlines, deadlines, no_execute};
use crate::pods::{self, DISRUPTION_TARGET};
use crate::workload::{name, uid};
use crate::{Shared, time};

/// The controller's stores, and what it remembers.
pub struct TaintEviction {
    nodes: Store<Node>,
    pods: Index<Pod>,
    memory: Mutex<HashMap<String, Memory>>,
    default_toleration: Duration,
}

/// What is remembered of a node between two looks.
#[derive(Default)]
struct Memory {
    /// Since when a taint is known that does not say itself when it was added.
    taints: HashMap<(String, String), Timestamp>,
    /// Pods whose time is running.
    running: BTreeSet<String>,
}

/// All that `plan` may look at.
pub struct Observed {
    /// The pods of one node.
    pods: Vec<Arc<Pod>>,
    /// When each has to be evicted.
    deadlines: Deadlines,
    /// Those whose time was running when they were last looked at.
    running: BTreeSet<String>,
}

impl TaintEviction {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> TaintEviction {
        TaintEviction {
            nodes: shared.informers.store(),
            pods: pods::by_node(&shared.informers.store()),
            memory: Mutex::default(),
            default_toleration: shared.config.timing.default_toleration,
        }
    }

    /// The tainted node that a pod is bound to.
    fn tainted(&self, change: &Change<'_, Pod>) -> Option<Key> {
        let node = self.nodes.get("", change.new?.spec.as_ref()?.node_name.as_deref()?)?;
        (!no_execute(&node).is_empty()).then(|| node.key())
    }
}

impl Memory {
    /// The taints with the time from which each counts. One that does not say is noted when it is first seen, and forgotten with it.
    fn dated<'a>(&mut self, taints: Vec<&'a Taint>, now: Timestamp) -> Vec<(&'a Taint, Timestamp)> {
        let id = |taint: &Taint| (taint.key.clone(), taint.value.clone().unwrap_or_default());
        self.taints.retain(|known, _| taints.iter().any(|taint| id(taint) == *known));
        let mut since = |taint: &Taint| {
            let seen = *self.taints.entry(id(taint)).or_insert(now);
            taint.time_added.as_ref().map_or(seen, |time| time.0)
        };
        taints.into_iter().map(|taint| (taint, since(taint))).collect()
    }
}

impl Controller for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let it = self.clone();
        wakes
            .on::<Node>(|change| {
                let before = change.old.map(|node| no_execute(node)).unwrap_or_default();
                let after = change.new.map(|node| no_execute(node)).unwrap_or_default();
                if before == after { Vec::new() } else { vec![change.object().key()] }
            })
            .on::<Pod>(move |change| it.tainted(change).into_iter().collect())
    }

    async fn observe(&self, ctx: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let (pods, now) = (self.pods.find(&key.name), ctx.now());
        let node = self.nodes.get_key(key);
        let mut all = self.memory.lock();
        let memory = all.entry(key.name.clone()).or_default();
        // The pods of a node that is gone are orphans, which others look after.
        let taints = node.as_ref().map(|node| no_execute(node)).unwrap_or_default();
        let deadlines = deadlines(&pods, &memory.dated(taints, now), self.default_toleration);
        let running = deadlines.iter().filter(|(_, at)| **at > now).map(|(uid, _)| uid.clone()).collect();
        let running = std::mem::replace(&mut memory.running, running);
        if memory.running.is_empty() && memory.taints.is_empty() {
            all.remove(&key.name);
        }
        Ok(Some(Observed { pods, deadlines, running }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        let Observed { pods, deadlines, running } = observed;
        let mut actions = Vec::new();
        for pod in pods {
            let uid = uid(&pod.metadata);
            match deadlines.get(uid) {
                Some(at) if *at <= now => actions.push(evict(pod, now)),
                // Whose time was running and no longer is may stay: people want to know.
                None if running.contains(uid) && pod.metadata.deletion_timestamp.is_none() => {
                    let message = format!("Cancelling deletion of Pod {}", full_name(pod));
                    actions.push(Action::event(NewEvent::normal(&**pod, "TaintManagerEviction", message)));
                }
                _ => {}
            }
        }
        let next = deadlines.values().filter(|at| **at > now && **at < Timestamp::MAX).min();
        Plan::of(actions).and_look_again(next.map(|at| time::until(*at, now)))
    }
}

/// Writes the reason into the pod, and then deletes it.
fn evict(pod: &Pod, now: Timestamp) -> Action {
    let message = "Taint manager: deleting due to NoExecute taint";
    let conditions = pods::with_condition(pod, DISRUPTION_TARGET, "DeletionByTaintManager", message, now);
    let mark = Op::merge_status(pod.key(), pods::conditions_patch(pod, &conditions));
    let message = format!("Marking for deletion Pod {}", full_name(pod));
    let delete =
        Action::write(Op::delete(pod)).with_event(NewEvent::normal(pod, "TaintManagerEviction", message));
    Action::write(mark).then(delete)
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), name(&pod.metadata))
}
