//! Keeps as many pods of one template as a ReplicaSet asks for.
//!
//! ```text
//! [ReplicaSet] [Pod] --watch--> plan: take and drop pods, count, make or remove --> Pods, status
//! ```

mod plan;
mod status;
mod victims;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Status};
use coracle_client::{Ctx, Error, EventRecorder, Index, Op, Requeue, Store, Typed};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use plan::{Action, Observed, plan};
use status::Failure;

use crate::owner::{self, controller_of, is_controlled_by, uid};
use crate::{BATCH, Shared, drive, labels, patch, pods, time, write_all};

/// The controller's stores.
struct Controller {
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    /// Pods without a controller, by namespace.
    orphans: Index<Pod>,
    events: EventRecorder,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let sets = shared.informers.store::<ReplicaSet>();
    let pods = shared.informers.store::<Pod>();
    let controller = Arc::new(Controller {
        orphans: pods.index(|pod| match controller_of(&pod.metadata) {
            Some(_) => Vec::new(),
            None => pod.metadata.namespace.clone().into_iter().collect(),
        }),
        events: shared.events("replicaset-controller"),
        sets: sets.clone(),
        pods,
    });
    let runner = shared.runner("replicaset-controller").workers(4);
    let runner = runner.watches_itself::<ReplicaSet>().watches_owned::<Pod, ReplicaSet>();
    let runner =
        runner.watches::<Pod>(move |change| change.new.map(|pod| takers(&sets, pod)).unwrap_or_default());
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

/// The sets that would take a pod without a controller.
fn takers(sets: &Store<ReplicaSet>, pod: &Pod) -> Vec<Key> {
    if controller_of(&pod.metadata).is_some() || !pods::is_active(pod) {
        return Vec::new();
    }
    let sets = sets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let matches = |set: &&Arc<ReplicaSet>| {
        let selector = labels::selector(set.spec.as_ref().map(|spec| &spec.selector));
        labels::matches(&selector, &pod.metadata)
    };
    sets.iter().filter(matches).map(|set| set.key()).collect()
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(set) = self.sets.get_key(key) else { return Ok(Requeue::Done) };
        let mut pods = self.pods.owned_by(uid(&set.metadata));
        pods.retain(|pod| is_controlled_by(&pod.metadata, uid(&set.metadata)));
        pods.extend(self.orphans.find(&key.namespace));
        let related = self.related(&set, pods.len());
        let observed = Observed { set: &set, pods: &pods, related: &related };
        let actions = plan(&observed, ctx.now());
        let more = actions.iter().any(|action| match action {
            Action::Create { count } => *count == plan::BURST,
            Action::Delete { pods } => pods.len() == plan::BURST,
            _ => false,
        });
        self.apply(ctx, &observed, actions).await?;
        if more {
            return Ok(Requeue::After(Duration::ZERO));
        }
        let claimed = plan::claim_pods(&observed, &mut Vec::new());
        Ok(match status::next_available(&set, &claimed.active, ctx.now()) {
            Some(at) => Requeue::After(time::until(at, ctx.now())),
            None => Requeue::Done,
        })
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

    async fn apply(&self, ctx: &Ctx, observed: &Observed<'_>, actions: Vec<Action>) -> Result<(), Error> {
        let mut claims = Vec::new();
        let mut refused = None;
        let mut told = None;
        for action in actions {
            match action {
                Action::Adopt { pod, patch } | Action::Release { pod, patch } => {
                    claims.push(Op::merge(pod, patch))
                }
                Action::Create { count } => {
                    write_all(ctx, std::mem::take(&mut claims)).await?;
                    refused = self.create(ctx, observed.set, count).await?;
                }
                Action::Delete { pods } => {
                    write_all(ctx, std::mem::take(&mut claims)).await?;
                    refused = self.delete(ctx, observed.set, pods).await?;
                }
                Action::Status(status) => told = Some(*status),
            }
        }
        write_all(ctx, claims).await?;
        if let Some((failure, _)) = &refused {
            let claimed = plan::claim_pods(observed, &mut Vec::new());
            let failure = Some(failure);
            told =
                Some(status::status(observed.set, &claimed.active, claimed.terminating, failure, ctx.now()));
        }
        if let Some(status) = told
            && let Some(patch) = status_patch(observed.set, &status)
        {
            write_all(ctx, vec![Op::merge_status(observed.set.key(), patch)]).await?;
        }
        match refused {
            Some((_, status)) => Err(Error::Refused(status)),
            None => Ok(()),
        }
    }

    /// Makes pods in batches that double: where the first is refused, a thousand more need not be tried.
    async fn create(
        &self,
        ctx: &Ctx,
        set: &ReplicaSet,
        count: usize,
    ) -> Result<Option<(Failure, Status)>, Error> {
        let op = Op::Create {
            kind: Pod::kind(),
            namespace: set.metadata.namespace.clone().unwrap_or_default(),
            sub: None,
            object: new_pod(set),
        };
        let (mut left, mut size) = (count, 1);
        while left > 0 {
            size = size.min(left);
            let mut refused = None;
            for outcome in ctx.write(vec![op.clone(); size]).await? {
                match outcome {
                    Ok(pod) => {
                        self.events.normal(set, "SuccessfulCreate", format!("Created pod: {}", pod.key.name));
                    }
                    // Whoever empties the namespace has the last word; there is nothing to report.
                    Err(status) if is_terminating(&status) => return Ok(None),
                    Err(status) => {
                        self.events.warning(set, "FailedCreate", format!("Error creating: {status}"));
                        refused.get_or_insert(status);
                    }
                }
            }
            if let Some(status) = refused {
                let failure = Failure { reason: "FailedCreate", message: status.to_string() };
                return Ok(Some((failure, status)));
            }
            left -= size;
            size = (size * 2).min(BATCH);
        }
        Ok(None)
    }

    async fn delete(
        &self,
        ctx: &Ctx,
        set: &ReplicaSet,
        pods: Vec<(Key, String)>,
    ) -> Result<Option<(Failure, Status)>, Error> {
        let mut refused = None;
        for chunk in pods.chunks(BATCH) {
            let ops = chunk.iter().map(|(key, uid)| Op::Delete {
                key: key.clone(),
                uid: Some(uid.clone()),
                revision: None,
                grace_seconds: None,
                propagation: None,
            });
            for (outcome, (key, _)) in ctx.write(ops.collect()).await?.into_iter().zip(chunk) {
                match outcome {
                    Ok(_) => {
                        self.events.normal(set, "SuccessfulDelete", format!("Deleted pod: {}", key.name))
                    }
                    Err(status) if status.reason == "NotFound" => {}
                    Err(status) => {
                        self.events.warning(set, "FailedDelete", format!("Error deleting: {status}"));
                        let failure = Failure { reason: "FailedDelete", message: status.to_string() };
                        refused.get_or_insert((failure, status));
                    }
                }
            }
        }
        Ok(refused)
    }
}

/// Whether the server refused because the namespace is on its way out.
fn is_terminating(status: &Status) -> bool {
    status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// A pod as the template has it, named after the set and owned by it.
pub fn new_pod(set: &ReplicaSet) -> Value {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", owner::name(&set.metadata)),
            "namespace": set.metadata.namespace,
        },
        "spec": template.spec,
    });
    let parts = [
        ("labels", json!(meta.labels)),
        ("annotations", json!(meta.annotations)),
        ("finalizers", json!(meta.finalizers)),
    ];
    for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_null()) {
        pod["metadata"][key] = value;
    }
    pod["metadata"]["ownerReferences"] = json!([owner::controller_reference(set)]);
    pod
}

/// What has to change in the set's status, if anything.
fn status_patch(set: &ReplicaSet, new: &ReplicaSetStatus) -> Option<Value> {
    let old = json!(set.status.clone().unwrap_or_default());
    let status = patch::difference(&old, &json!(new))?;
    Some(json!({"metadata": {"uid": set.metadata.uid}, "status": status}))
}

#[cfg(test)]
mod tests;
