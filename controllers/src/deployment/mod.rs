//! Brings the pods of a Deployment to its latest template, by way of one ReplicaSet for each version.
//!
//! ```text
//! [Deployment] [ReplicaSet] [Pod] --watch--> plan --> ReplicaSets (size, annotations), status
//!                                             |- paused, or of another size: scale the sets as they are
//!                                             |- RollingUpdate: grow the new, shrink the old, within limits
//!                                             `- Recreate: all of the old before any of the new
//! ```

mod hash;
mod limits;
mod plan;
mod progress;
mod revision;
mod rollout;
mod scale;
mod status;
mod steps;

use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Action, Controller, Ctx, Error, Plan, Refusal, Store, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use limits::Limits;
pub use plan::Observed;

use crate::Shared;
use crate::workload::{Orphans, Selectors, controller_of, is_controlled_by, uid};

/// The controller's stores.
pub struct Deployments {
    deployments: Store<Deployment>,
    selectors: Selectors,
    sets: Store<ReplicaSet>,
    orphans: Orphans<ReplicaSet>,
    pods: Store<Pod>,
}

impl Deployments {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> Deployments {
        let (deployments, sets) = (shared.informers.store(), shared.informers.store());
        Deployments {
            selectors: Selectors::of(&deployments),
            orphans: Orphans::of(&sets),
            pods: shared.informers.store(),
            deployments,
            sets,
        }
    }

    /// The Deployment behind a pod, if it replaces its pods all at once.
    fn recreator(&self, pod: &Pod) -> Option<Key> {
        use coracle_client::Typed as _;
        let namespace = pod.metadata.namespace.as_deref()?;
        let set = self.sets.get(namespace, &controller_of(&pod.metadata)?.name)?;
        let deployment = self.deployments.get(namespace, &controller_of(&set.metadata)?.name)?;
        (!Limits::of(&deployment).rolling).then(|| deployment.key())
    }
}

impl Controller for Deployments {
    const NAME: &'static str = "deployment-controller";
    const WORKERS: usize = 4;
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let selectors = self.selectors.clone();
        let takers = move |set: &Arc<ReplicaSet>| match controller_of(&set.metadata) {
            Some(_) => Vec::new(),
            None => selectors.selecting(&set.metadata),
        };
        let it = self.clone();
        wakes
            .on_each::<Deployment>()
            .on_owned::<ReplicaSet, Deployment>()
            .on::<ReplicaSet>(move |change| change.new.map(&takers).unwrap_or_default())
            // Only Recreate waits for pods: until the last of them is gone.
            .on::<Pod>(move |change| match (change.old, change.new) {
                (Some(pod), new) if new.is_none_or(|pod| crate::pods::is_finished(pod)) => {
                    it.recreator(pod).into_iter().collect()
                }
                _ => Vec::new(),
            })
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(deployment) = self.deployments.get_key(key) else { return Ok(None) };
        let mut sets = self.sets.owned_by(uid(&deployment.metadata));
        sets.retain(|set| is_controlled_by(&set.metadata, uid(&deployment.metadata)));
        let mut pods = Vec::new();
        if !Limits::of(&deployment).rolling {
            pods.extend(sets.iter().flat_map(|set| self.pods.owned_by(uid(&set.metadata))));
        }
        sets.extend(self.orphans.within(&key.namespace));
        let taken = self.sets.names(&key.namespace, &format!("{}-", key.name));
        Ok(Some(Observed { selector: self.selectors.get(key), deployment, sets, pods, taken }))
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
