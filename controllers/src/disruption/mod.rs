//! Says how many pods of a budget may be evicted now; the API server's eviction asks the status that is written here.
//!
//! ```text
//! [PodDisruptionBudget] [Pod] [Deployment] [ReplicaSet] --watch--> plan: count --> status
//! ```

mod plan;

use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Ctx, Error, EventRecorder, Op, Requeue, Store, Typed};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::{Observed, Plan, plan};
use crate::{Shared, drive, labels, patch, time, write_all};

struct Controller {
    budgets: Store<PodDisruptionBudget>,
    pods: Store<Pod>,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    events: EventRecorder,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let budgets = shared.informers.store::<PodDisruptionBudget>();
    let controller = Arc::new(Controller {
        budgets: budgets.clone(),
        pods: shared.informers.store(),
        deployments: shared.informers.store(),
        sets: shared.informers.store(),
        events: shared.events("controllermanager"),
    });
    let of_pods = budgets.clone();
    let of_sets = budgets.clone();
    let runner = shared
        .runner("disruption-controller")
        .watches_itself::<PodDisruptionBudget>()
        .watches::<Pod>(move |change| {
            let states = change.old.into_iter().chain(change.new);
            states.flat_map(|pod| budgets_of(&of_pods, namespace(&pod.metadata), &pod.metadata)).collect()
        })
        // How many pods are wanted is asked of those who make them.
        .watches::<Deployment>(move |change| {
            let template = change.object().spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
            let found = template.map(|pods| budgets_of(&budgets, namespace(&change.object().metadata), pods));
            found.unwrap_or_default()
        })
        .watches::<ReplicaSet>(move |change| {
            let template = change.object().spec.as_ref().and_then(|spec| spec.template.as_ref());
            let found = template
                .and_then(|template| template.metadata.as_ref())
                .map(|pods| budgets_of(&of_sets, namespace(&change.object().metadata), pods));
            found.unwrap_or_default()
        });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

fn namespace(object: &ObjectMeta) -> &str {
    object.namespace.as_deref().unwrap_or_default()
}

/// The budgets that count a pod with this metadata.
fn budgets_of(budgets: &Store<PodDisruptionBudget>, namespace: &str, pod: &ObjectMeta) -> Vec<Key> {
    let counts = |budget: &&Arc<PodDisruptionBudget>| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        labels::matches(&labels::selector(selector), pod)
    };
    budgets.list_in(namespace).iter().filter(counts).map(|budget| budget.key()).collect()
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(budget) = self.budgets.get_key(key) else { return Ok(Requeue::Done) };
        let spec = budget.spec.clone().unwrap_or_default();
        let selector = labels::selector(spec.selector.as_ref());
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| labels::matches(&selector, &pod.metadata));
        let observed = Observed {
            budget: &budget,
            pods: &pods,
            deployments: &self.deployments.list_in(&key.namespace),
            sets: &self.sets.list_in(&key.namespace),
        };
        let Plan { status, unmanaged, look_again } = plan(&observed, ctx.now());
        let old = json!(budget.status.clone().unwrap_or_default());
        if let Some(change) = patch::difference(&old, &json!(status)) {
            self.tell(&budget, pods.is_empty(), unmanaged);
            // An eviction that has counted itself meanwhile must not be forgotten.
            let meta =
                json!({"uid": budget.metadata.uid, "resourceVersion": budget.metadata.resource_version});
            let patch = json!({"metadata": meta, "status": change});
            write_all(ctx, vec![Op::merge_status(key.clone(), patch)]).await?;
        }
        Ok(match look_again {
            Some(at) => Requeue::After(time::until(at, ctx.now())),
            None => Requeue::Done,
        })
    }

    /// What the author of a budget may not have meant.
    fn tell(&self, budget: &PodDisruptionBudget, no_pods: bool, unmanaged: bool) {
        if no_pods {
            self.events.normal(budget, "NoPods", "No matching pods found");
        }
        if unmanaged {
            let text = "Pods selected by this PodDisruptionBudget have no controller that says how many there are to be: \
                set .spec.minAvailable to a whole number to count them";
            self.events.warning(budget, "UnmanagedPods", text);
        }
    }
}
