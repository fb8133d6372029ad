//! Notices nodes that fall silent, says so in their conditions, and taints them.
//!
//! ```text
//! [Lease] [Node] --watch--> silent for too long? --> conditions Unknown
//!            conditions --> taints (NoExecute only as fast as the zone's health allows)
//! ```
//!
//! What the taints do to pods is [`taint_eviction`](crate::taint_eviction)'s part.

mod health;
mod plan;
mod taints;
mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::recorder::reference;
use coracle_client::{
    Change, Clock, Controller, Ctx, Error, EventRecorder, Index, Plan, Store, Typed, Wakes,
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use parking_lot::Mutex;

use self::plan::Observed;
use self::zones::{Pace, Zones, zone};
use crate::workload::name;
use crate::{Shared, Timing, pods};

/// Where nodes renew their leases.
const LEASES: &str = "kube-node-lease";

/// The controller's stores, and what it remembers.
pub struct NodeLifecycle {
    nodes: Store<Node>,
    pods: Index<Pod>,
    zones: Arc<Mutex<Zones>>,
    pace: Mutex<Pace>,
    /// When each node was last heard of, by our own clock: the nodes' clocks may be wrong.
    heard: Mutex<HashMap<String, Timestamp>>,
    timing: Timing,
    clock: Clock,
    events: EventRecorder,
}

impl NodeLifecycle {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> NodeLifecycle {
        let nodes = shared.informers.store::<Node>();
        let zones = Arc::new(Mutex::new(Zones::default()));
        let kept = zones.clone();
        nodes.on_change(move |change| kept.lock().note(change.old.map(|n| &**n), change.new.map(|n| &**n)));
        NodeLifecycle {
            nodes,
            pods: pods::by_node(&shared.informers.store()),
            zones,
            pace: Mutex::default(),
            heard: Mutex::default(),
            timing: shared.config.timing.clone(),
            clock: shared.clock.clone(),
            events: shared.events(NodeLifecycle::REPORTS_AS),
        }
    }

    /// Notes a sign of life, and whom a change of one node concerns.
    fn on_node(&self, change: &Change<'_, Node>) -> Vec<Key> {
        let name = name(&change.object().metadata);
        match (change.old, change.new) {
            (None, Some(new)) => {
                let created = new.metadata.creation_timestamp.as_ref().map(|time| time.0);
                let silent = health::ready(new).is_none();
                let since = created.filter(|_| silent).unwrap_or_else(|| self.clock.now());
                self.heard.lock().insert(name.to_owned(), since);
                self.tell(new, "RegisteredNode", &format!("Registered Node {name} in Controller"));
            }
            (Some(old), Some(new)) if health::is_sign_of_life(old, new) => {
                self.heard.lock().insert(name.to_owned(), self.clock.now());
            }
            (Some(old), None) => {
                self.heard.lock().remove(name);
                self.tell(old, "RemovingNode", &format!("Removing Node {name} from Controller"));
            }
            _ => {}
        }
        let turned = change.old.map(|node| health::ready(node)) != change.new.map(|node| health::ready(node));
        let mut keys = vec![change.object().key()];
        if turned {
            // How fast a zone may lose nodes depends on how the others are.
            keys.extend(self.zones.lock().failed().map(|name| Key::new(Node::kind(), "", name.clone())));
        }
        keys
    }

    fn tell(&self, node: &Node, reason: &str, what: &str) {
        let about = ObjectReference { resource_version: None, ..reference(node) };
        let message = format!("Node {} event: {what}", name(&node.metadata));
        self.events.emit(about, "Normal", reason, "", message);
    }

    fn on_lease(&self, change: &Change<'_, Lease>) {
        let renewed = |lease: &Arc<Lease>| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let meta = &change.object().metadata;
        if meta.namespace.as_deref() == Some(LEASES)
            && change.old.and_then(renewed) != change.new.and_then(renewed)
        {
            self.heard.lock().insert(name(meta).to_owned(), self.clock.now());
        }
    }

    /// The failed node of a pod that says it is ready.
    fn contradicted(&self, pod: &Pod) -> Option<Key> {
        let node = self.nodes.get("", pod.spec.as_ref()?.node_name.as_deref()?)?;
        (pods::is_ready(pod) && health::has_failed(&node)).then(|| node.key())
    }

    /// Whether a node may lose its pods now, and when to ask again if not.
    fn eviction(&self, node: &Node, now: Timestamp) -> (taints::Eviction, Option<std::time::Duration>) {
        if !health::has_failed(node) {
            return (taints::Eviction::Later, None);
        }
        let zone = zone(node);
        let rate = self.zones.lock().rate(&zone, &self.timing);
        if taints::awaits_eviction(node) {
            return self.pace.lock().ask(zone, name(&node.metadata), rate, now);
        }
        (if rate.is_none() { taints::Eviction::Off } else { taints::Eviction::Later }, None)
    }
}

impl Controller for NodeLifecycle {
    const NAME: &'static str = "node-lifecycle-controller";
    const REPORTS_AS: &'static str = "node-controller";
    const WORKERS: usize = 2;
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let (of_nodes, of_leases, of_pods) = (self.clone(), self.clone(), self.clone());
        wakes
            .on::<Node>(move |change| of_nodes.on_node(change))
            .on::<Lease>(move |change| {
                of_leases.on_lease(change);
                Vec::new()
            })
            .on::<Pod>(move |change| {
                change.new.and_then(|pod| of_pods.contradicted(pod)).into_iter().collect()
            })
    }

    async fn observe(&self, ctx: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(node) = self.nodes.get_key(key) else { return Ok(None) };
        let now = ctx.now();
        let heard = self.heard.lock().get(&key.name).copied().unwrap_or(now);
        let (eviction, ask_again) = self.eviction(&node, now);
        let mut pods = Vec::new();
        if health::has_failed(&node) {
            pods = self.pods.find(&key.name);
            pods.retain(|pod| pods::is_ready(pod));
        }
        let timing = self.timing.clone();
        Ok(Some(Observed { node, heard, eviction, ask_again, unready: pods, timing }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
