//! Says how many pods of a budget may be evicted now; the API server's eviction asks the status that is written here.
//!
//! ```text
//! [PodDisruptionBudget] [Pod] [Deployment] [ReplicaSet] --watch--> plan: count --> status
//! ```

mod plan;

use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Controller, Ctx, Error, Plan, Store, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use self::plan::Observed;
use crate::workload::Selectors;
use crate::{Shared, labels};

/// The controller's stores.
pub struct Budgets {
    budgets: Store<PodDisruptionBudget>,
    selectors: Selectors,
    pods: Store<Pod>,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
}

impl Budgets {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> Budgets {
        let budgets = shared.informers.store();
        Budgets {
            selectors: Selectors::of(&budgets),
            pods: shared.informers.store(),
            deployments: shared.informers.store(),
            sets: shared.informers.store(),
            budgets,
        }
    }

    /// The budgets that count the pods of a workload in this namespace.
    fn counting(&self, workload: &ObjectMeta, template: Option<&PodTemplateSpec>) -> Vec<Key> {
        let Some(pods) = template.and_then(|template| template.metadata.clone()) else { return Vec::new() };
        self.selectors.selecting(&ObjectMeta { namespace: workload.namespace.clone(), ..pods })
    }
}

impl Controller for Budgets {
    const NAME: &'static str = "disruption-controller";
    const REPORTS_AS: &'static str = "controllermanager";
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let (of_pods, of_deployments, of_sets) = (self.clone(), self.clone(), self.clone());
        wakes
            .on_each::<PodDisruptionBudget>()
            .on::<Pod>(move |change| {
                let states = change.old.into_iter().chain(change.new);
                states.flat_map(|pod| of_pods.selectors.selecting(&pod.metadata)).collect()
            })
            // How many pods are wanted is asked of those who make them.
            .on::<Deployment>(move |change| {
                let deployment = change.object();
                let template = deployment.spec.as_ref().map(|spec| &spec.template);
                of_deployments.counting(&deployment.metadata, template)
            })
            .on::<ReplicaSet>(move |change| {
                let set = change.object();
                let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
                of_sets.counting(&set.metadata, template)
            })
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(budget) = self.budgets.get_key(key) else { return Ok(None) };
        let selector = self.selectors.get(key);
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| labels::matches(&selector, &pod.metadata));
        let deployments = self.deployments.list_in(&key.namespace);
        Ok(Some(Observed { budget, pods, deployments, sets: self.sets.list_in(&key.namespace) }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }
}
