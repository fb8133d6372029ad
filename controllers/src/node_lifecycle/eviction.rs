//! The shell around [`evict`](super::evict): watches taints and pods, and takes away the pods whose time is up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Key;
use coracle_client::{Ctx, Error, EventRecorder, Index, Op, Requeue, Store, Typed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::evict::{Deadlines, deadlines, no_execute};
use super::{by_node, conditions_patch};
use crate::owner::{name, uid};
use crate::{Shared, drive, time};

/// The condition of a pod that goes for a reason outside itself.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

struct Controller {
    nodes: Store<Node>,
    pods: Index<Pod>,
    state: Mutex<HashMap<String, Memory>>,
    default_toleration: Duration,
    events: EventRecorder,
}

/// What is remembered of a node between two looks.
#[derive(Default)]
struct Memory {
    /// Since when a taint is known that does not say itself when it was added.
    taints: HashMap<(String, String), Timestamp>,
    /// Pods whose time is running.
    running: BTreeSet<String>,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let nodes = shared.informers.store::<Node>();
    let controller = Arc::new(Controller {
        nodes: nodes.clone(),
        pods: by_node(&shared.informers.store()),
        state: Mutex::default(),
        default_toleration: shared.config.timing.default_toleration,
        events: shared.events("taint-eviction-controller"),
    });
    let runner = shared.runner("taint-eviction-controller").watches::<Node>(|change| {
        let before = change.old.map(|node| no_execute(node)).unwrap_or_default();
        let after = change.new.map(|node| no_execute(node)).unwrap_or_default();
        if before == after { Vec::new() } else { vec![change.object().key()] }
    });
    let runner = runner.watches::<Pod>(move |change| {
        let node = change.new.and_then(|pod| nodes.get("", pod.spec.as_ref()?.node_name.as_deref()?));
        let tainted = node.filter(|node| !no_execute(node).is_empty());
        tainted.map(|node| node.key()).into_iter().collect()
    });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let pods = self.pods.find(&key.name);
        let now = ctx.now();
        let deadlines = match self.nodes.get_key(key) {
            Some(node) => deadlines(&pods, &self.dated(key, no_execute(&node), now), self.default_toleration),
            // Its pods are orphans now, which others look after.
            None => Deadlines::new(),
        };
        self.tell_cancelled(key, &pods, &deadlines, now);
        let due = |pod: &&Arc<Pod>| deadlines.get(uid(&pod.metadata)).is_some_and(|at| *at <= now);
        let due: Vec<&Arc<Pod>> = pods.iter().filter(due).collect();
        self.evict(ctx, &due, now).await?;
        let next = deadlines.values().filter(|at| **at > now && **at < Timestamp::MAX).min();
        Ok(next.map_or(Requeue::Done, |at| Requeue::After(time::until(*at, now))))
    }

    /// The taints with the time from which each counts. One that does not say is noted when it is first seen, and forgotten with it.
    fn dated<'a>(&self, key: &Key, taints: Vec<&'a Taint>, now: Timestamp) -> Vec<(&'a Taint, Timestamp)> {
        let mut state = self.state.lock();
        let memory = state.entry(key.name.clone()).or_default();
        let id = |taint: &Taint| (taint.key.clone(), taint.value.clone().unwrap_or_default());
        memory.taints.retain(|known, _| taints.iter().any(|taint| id(taint) == *known));
        let mut since = |taint: &Taint| {
            let seen = *memory.taints.entry(id(taint)).or_insert(now);
            taint.time_added.as_ref().map_or(seen, |time| time.0)
        };
        taints.into_iter().map(|taint| (taint, since(taint))).collect()
    }

    /// Whose time was running and no longer is may stay: people want to know.
    fn tell_cancelled(&self, key: &Key, pods: &[Arc<Pod>], deadlines: &Deadlines, now: Timestamp) {
        let mut state = self.state.lock();
        let memory = state.entry(key.name.clone()).or_default();
        let spared = |pod: &&Arc<Pod>| {
            let uid = uid(&pod.metadata);
            memory.running.contains(uid)
                && !deadlines.contains_key(uid)
                && pod.metadata.deletion_timestamp.is_none()
        };
        for pod in pods.iter().filter(spared) {
            let message = format!("Cancelling deletion of Pod {}", full_name(pod));
            self.events.normal(&**pod, "TaintManagerEviction", message);
        }
        memory.running = deadlines.iter().filter(|(_, at)| **at > now).map(|(uid, _)| uid.clone()).collect();
        if memory.running.is_empty() && memory.taints.is_empty() {
            state.remove(&key.name);
        }
    }

    async fn evict(&self, ctx: &Ctx, due: &[&Arc<Pod>], now: Timestamp) -> Result<(), Error> {
        let mark =
            |pod: &&Arc<Pod>| Op::merge_status(pod.key(), conditions_patch(pod, &json!(disrupted(pod, now))));
        let mut failed = None;
        let mut marked = Vec::new();
        for (pod, outcome) in due.iter().zip(ctx.write(due.iter().map(mark).collect()).await?) {
            match outcome {
                Ok(_) => marked.push(*pod),
                Err(status) if status.code == 404 => {}
                Err(status) => failed = Some(status),
            }
        }
        let deletes = marked.iter().map(|pod| Op::delete(&***pod)).collect();
        for (pod, outcome) in marked.iter().zip(ctx.write(deletes).await?) {
            match outcome {
                Ok(_) => {
                    let message = format!("Marking for deletion Pod {}", full_name(pod));
                    self.events.normal(&***pod, "TaintManagerEviction", message);
                }
                Err(status) if status.code == 404 => {}
                Err(status) => failed = Some(status),
            }
        }
        match failed {
            Some(status) => Err(Error::Refused(status)),
            None => Ok(()),
        }
    }
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), name(&pod.metadata))
}

/// The pod's conditions with the reason for its end.
fn disrupted(pod: &Pod, now: Timestamp) -> Vec<PodCondition> {
    let message = "Taint manager: deleting due to NoExecute taint";
    crate::pods::with_condition(pod, DISRUPTION_TARGET, "DeletionByTaintManager", message, now)
}
