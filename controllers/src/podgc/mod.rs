//! Cleans up pods that nobody else does: of lost nodes, deleted before they had one, or long since ended.
//!
//! ```text
//! every now and then: [Pod] [Node] --> plan --> phase Failed, delete at once
//! ```

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Controller, Ctx, Error, Plan, Store, Typed, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;

use self::plan::Observed;
use crate::{Shared, Timing};

/// The controller's stores, and what it remembers.
pub struct PodCollector {
    pods: Store<Pod>,
    nodes: Store<Node>,
    /// Since when a node is missing that pods are bound to.
    missing: Mutex<BTreeMap<String, Timestamp>>,
    timing: Timing,
}

impl PodCollector {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> PodCollector {
        PodCollector {
            pods: shared.informers.store(),
            nodes: shared.informers.store(),
            missing: Mutex::default(),
            timing: shared.config.timing.clone(),
        }
    }

    /// Brings up to date since when which nodes are missing; before one counts, the server itself is asked.
    async fn missing(&self, ctx: &Ctx, pods: &[Arc<Pod>]) -> Result<BTreeMap<String, Timestamp>, Error> {
        let bound: BTreeSet<&str> = pods.iter().filter_map(|pod| plan::node(pod)).collect();
        let mut missing = BTreeMap::new();
        let known = self.missing.lock().clone();
        for node in bound.into_iter().filter(|node| self.nodes.get("", node).is_none()) {
            if ctx.client().get(&Key::new(Node::kind(), "", node)).await?.is_none() {
                missing.insert(node.to_owned(), known.get(node).copied().unwrap_or_else(|| ctx.now()));
            }
        }
        self.missing.lock().clone_from(&missing);
        Ok(missing)
    }
}

impl Controller for PodCollector {
    const NAME: &'static str = "pod-garbage-collector";
    type Observed = Observed;

    /// One key for all pods, looked at by the clock and not by change.
    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        wakes.from_the_start(Key::new(Pod::kind(), "", ""))
    }

    async fn observe(&self, ctx: &Ctx, _: &Key) -> Result<Option<Observed>, Error> {
        let pods = self.pods.list();
        let missing = self.missing(ctx, &pods).await?;
        Ok(Some(Observed { pods, missing, timing: self.timing.clone() }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
