//! Keeps as many pods of one template as a ReplicaSet asks for.
//!
//! ```text
//! [ReplicaSet] [Pod] --watch--> plan: take and drop pods, count, make or remove --> Pods, status
//! ```

mod plan;
mod status;
mod victims;

use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Action, Controller, Ctx, Error, Plan, Refusal, Store, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

pub use plan::Observed;

use crate::workload::{Orphans, Selectors, controller_of, is_controlled_by, uid};
use crate::{Shared, pods};

/// The controller's stores.
pub struct ReplicaSets {
    sets: Store<ReplicaSet>,
    selectors: Selectors,
    pods: Store<Pod>,
    orphans: Orphans<Pod>,
}

impl ReplicaSets {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> ReplicaSets {
        let (sets, pods) = (shared.informers.store(), shared.informers.store());
        ReplicaSets { selectors: Selectors::of(&sets), orphans: Orphans::of(&pods), sets, pods }
    }

    /// The pods of all sets with the same controller. Only the choice of victims looks at them.
    fn related(&self, set: &ReplicaSet, owned: usize) -> Vec<Arc<Pod>> {
        if owned <= plan::replicas(set) {
            return Vec::new();
        }
        let Some(controller) = controller_of(&set.metadata) else {
            return self.pods.owned_by(uid(&set.metadata));
        };
        let sets = self.sets.owned_by(&controller.uid);
        sets.iter().flat_map(|set| self.pods.owned_by(uid(&set.metadata))).collect()
    }
}

impl Controller for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";
    const WORKERS: usize = 4;
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let selectors = self.selectors.clone();
        let takers = move |pod: &Arc<Pod>| {
            let is_free = controller_of(&pod.metadata).is_none() && pods::is_active(pod);
            if is_free { selectors.selecting(&pod.metadata) } else { Vec::new() }
        };
        wakes
            .on_each::<ReplicaSet>()
            .on_owned::<Pod, ReplicaSet>()
            .on::<Pod>(move |change| change.new.map(&takers).unwrap_or_default())
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(set) = self.sets.get_key(key) else { return Ok(None) };
        let mut pods = self.pods.owned_by(uid(&set.metadata));
        pods.retain(|pod| is_controlled_by(&pod.metadata, uid(&set.metadata)));
        pods.extend(self.orphans.within(&key.namespace));
        let related = self.related(&set, pods.len());
        Ok(Some(Observed { selector: self.selectors.get(key), set, pods, related }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }

    fn refused(observed: &Observed, refusals: &[Refusal], now: Timestamp) -> Vec<Action> {
        plan::failed(observed, refusals, now)
    }
}

#[cfg(test)]
mod tests;
