//! Notices nodes that fall silent, taints them, and moves their pods away.
//!
//! ```text
//! [Lease] [Node] --watch--> silent for too long? --> conditions Unknown
//!            conditions --> taints (NoExecute only as fast as the zone's health allows)
//! [Node] [Pod]  --watch--> NoExecute not tolerated (any more)? --> condition DisruptionTarget, delete
//! ```

mod evict;
mod eviction;
mod health;
mod taints;
mod zones;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Key;
use coracle_client::recorder::reference;
use coracle_client::{Ctx, Error, EventRecorder, Index, Op, Requeue, Store, Typed};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::zones::{Pace, Zones, zone};
use crate::owner::{name, uid};
use crate::{Shared, Timing, drive, pods, time};

/// Where nodes renew their leases.
const LEASES: &str = "kube-node-lease";

/// Labels that old clients look for, and the ones that they follow.
const OLD_LABELS: [(&str, &str); 2] =
    [("kubernetes.io/arch", "beta.kubernetes.io/arch"), ("kubernetes.io/os", "beta.kubernetes.io/os")];

struct Controller {
    nodes: Store<Node>,
    pods: Index<Pod>,
    /// When each node was last heard of, by our own clock: the nodes' clocks may be wrong.
    heard: Arc<Mutex<HashMap<String, Timestamp>>>,
    pace: Mutex<Pace>,
    timing: Timing,
    events: EventRecorder,
}

/// Pods by the node that they are bound to.
fn by_node(pods: &Store<Pod>) -> Index<Pod> {
    pods.index(|pod| pod.spec.iter().filter_map(|spec| spec.node_name.clone()).collect())
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    tokio::join!(watch_over_nodes(shared.clone(), stop.clone()), eviction::run(shared, stop));
}

async fn watch_over_nodes(shared: Shared, stop: CancellationToken) {
    let nodes = shared.informers.store::<Node>();
    let heard = Arc::new(Mutex::new(HashMap::new()));
    let controller = Arc::new(Controller {
        nodes: nodes.clone(),
        pods: by_node(&shared.informers.store()),
        heard: heard.clone(),
        pace: Mutex::default(),
        timing: shared.config.timing.clone(),
        events: shared.events("node-controller"),
    });
    let key = |name: &str| Key::new(Node::kind(), "", name);
    let (hears, clock) = (heard.clone(), shared.clock.clone());
    let events = shared.events("node-controller");
    let runner = shared.runner("node-lifecycle-controller").workers(2).watches::<Node>(move |change| {
        let name = name(&change.object().metadata);
        match (change.old, change.new) {
            (None, Some(new)) => {
                let created = new.metadata.creation_timestamp.as_ref().map(|time| time.0);
                let silent = health::ready(new).is_none();
                let since = created.filter(|_| silent).unwrap_or_else(|| clock.now());
                hears.lock().insert(name.to_owned(), since);
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                tell(&events, new, "RegisteredNode", message);
            }
            (Some(old), Some(new)) if health::is_sign_of_life(old, new) => {
                hears.lock().insert(name.to_owned(), clock.now());
            }
            (Some(old), None) => {
                hears.lock().remove(name);
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                tell(&events, old, "RemovingNode", message);
            }
            _ => {}
        }
        // How fast a zone may lose nodes depends on how the others are.
        let turned = change.old.map(|node| health::ready(node)) != change.new.map(|node| health::ready(node));
        let others = if turned { nodes.list() } else { Vec::new() };
        let waiting = others.iter().filter(|node| matches!(health::ready(node), Some("False" | "Unknown")));
        std::iter::once(change.object().key()).chain(waiting.map(|node| node.key())).collect()
    });
    let (clock, last) = (shared.clock.clone(), heard);
    let runner = runner.watches::<Lease>(move |change| {
        let renewed = |lease: &Arc<Lease>| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let meta = &change.object().metadata;
        if meta.namespace.as_deref() == Some(LEASES)
            && change.old.and_then(renewed) != change.new.and_then(renewed)
        {
            last.lock().insert(name(meta).to_owned(), clock.now());
        }
        Vec::new()
    });
    // A pod that says it is ready on a node that is not.
    let of = shared.informers.store::<Node>();
    let runner = runner.watches::<Pod>(move |change| {
        let ready = change.new.filter(|pod| pods::is_ready(pod));
        let node = ready.and_then(|pod| of.get("", pod.spec.as_ref()?.node_name.as_deref()?));
        let failed = node.filter(|node| matches!(health::ready(node), Some("False" | "Unknown")));
        failed.map(|node| key(name(&node.metadata))).into_iter().collect()
    });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(node) = self.nodes.get_key(key) else { return Ok(Requeue::Done) };
        let now = ctx.now();
        let heard = self.heard.lock().get(&key.name).copied().unwrap_or(now);
        let unsaid = health::ready(&node).is_none();
        let grace = if unsaid { self.timing.node_startup_grace } else { self.timing.node_grace };
        let silent_at = heard.checked_add(grace).unwrap_or(Timestamp::MAX);
        if silent_at <= now
            && let Some(conditions) = health::silenced(&node, now)
        {
            let patch = json!({"metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
                "status": {"conditions": conditions}});
            ctx.write_one(Op::merge_status(key.clone(), patch)).await?;
            if health::ready(&node) == Some("True") {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                tell(&self.events, &node, "NodeNotReady", message);
            }
            // Taints and pods follow from the conditions, which wake us.
            return Ok(Requeue::Done);
        }
        let (ops, wait) = self.plan(&node, now);
        let marked = self.unready_pods(&node, now);
        let told = marked.len();
        let ops = ops.into_iter().chain(marked.iter().map(|(_, op)| op.clone())).collect::<Vec<_>>();
        let first_pod = ops.len() - told;
        for (number, outcome) in ctx.write(ops).await?.into_iter().enumerate() {
            match outcome {
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(Error::Refused(status)),
                Ok(_) if number >= first_pod => {
                    let (pod, _) = &marked[number - first_pod];
                    self.events.warning(&**pod, "NodeNotReady", "Node is not ready");
                }
                Ok(_) => {}
            }
        }
        let until_silent = time::until(silent_at, now);
        let quiet = silent_at <= now;
        let wait = wait.into_iter().chain((!quiet).then_some(until_silent)).min();
        Ok(wait.map_or(Requeue::Done, |wait| Requeue::After(wait.max(Duration::from_millis(10)))))
    }

    /// What has to change on the node itself, and when to ask again for leave to evict its pods.
    fn plan(&self, node: &Node, now: Timestamp) -> (Vec<Op>, Option<Duration>) {
        let rate = |zone: &zones::Zone| Zones::of(&self.nodes.list()).rate(zone, &self.timing);
        let (eviction, wait) = if taints::awaits_eviction(node) {
            let zone = zone(node);
            let rate = rate(&zone);
            self.pace.lock().ask(zone, rate, now)
        } else if matches!(health::ready(node), Some("False" | "Unknown")) && rate(&zone(node)).is_none() {
            (taints::Eviction::Off, None)
        } else {
            (taints::Eviction::Later, None)
        };
        let mut patch = json!({});
        if let Some(taints) = taints::wanted(node, eviction, now) {
            patch["spec"]["taints"] = if taints.is_empty() { Value::Null } else { json!(taints) };
            // The list is replaced whole: whoever has changed it meanwhile must not lose that.
            patch["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
        }
        let labels = old_labels(node);
        if !labels.is_empty() {
            patch["metadata"]["labels"] = json!(labels);
        }
        let ops = if patch == json!({}) { Vec::new() } else { vec![Op::merge(node.key(), patch)] };
        (ops, wait)
    }

    /// The pods of a failed node that still say that they are ready, and the writes that say they are not.
    fn unready_pods(&self, node: &Node, now: Timestamp) -> Vec<(Arc<Pod>, Op)> {
        if !matches!(health::ready(node), Some("False" | "Unknown")) {
            return Vec::new();
        }
        let pods = self.pods.find(name(&node.metadata)).into_iter().filter(|pod| pods::is_ready(pod));
        let mark = |pod: Arc<Pod>| {
            let mut conditions =
                pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            for ready in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
                ready.status = "False".into();
                ready.last_transition_time = Some(time::seconds(now));
            }
            let op = Op::merge_status(pod.key(), conditions_patch(&pod, &json!(conditions)));
            (pod, op)
        };
        pods.map(mark).collect()
    }
}

/// An event about a node, whatever its version.
fn tell(events: &EventRecorder, node: &Node, reason: &str, message: String) {
    let about = ObjectReference { resource_version: None, ..reference(node) };
    events.emit(about, "Normal", reason, "", message);
}

/// A merge patch of a pod's conditions, if it has not changed meanwhile.
fn conditions_patch(pod: &Pod, conditions: &Value) -> Value {
    json!({
        "metadata": {"uid": uid(&pod.metadata), "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": conditions},
    })
}

/// The old labels that do not follow the new ones.
fn old_labels(node: &Node) -> BTreeMap<&'static str, &str> {
    let Some(labels) = &node.metadata.labels else { return BTreeMap::new() };
    let follow = OLD_LABELS.iter().filter_map(|(new, old)| {
        let value = labels.get(*new)?;
        (labels.get(*old) != Some(value)).then_some((*old, value.as_str()))
    });
    follow.collect()
}
