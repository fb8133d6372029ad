//! Brings the pods of a Deployment to its latest template, by way of one ReplicaSet for each version.
//!
//! ```text
//! [Deployment] [ReplicaSet] [Pod] --watch--> plan --> ReplicaSets (size, annotations), status
//!                                             |- paused, or of another size: scale the sets as they are
//!                                             |- RollingUpdate: grow the new, shrink the old, within limits
//!                                             `- Recreate: all of the old before any of the new
//! ```

mod conditions;
mod draft;
mod hash;
mod limits;
mod plan;
mod revision;
mod rollout;
mod scale;
mod status;

use std::sync::Arc;

use coracle_api::{Key, Status};
use coracle_client::{Ctx, Error, EventRecorder, Index, Op, Requeue, Store, Typed};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use limits::Limits;
pub use plan::{Action, Observed, plan};

use crate::owner::{controller_of, is_controlled_by, name, uid};
use crate::{Shared, drive, labels};

/// The controller's stores.
struct Controller {
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    /// Sets without a controller, by namespace.
    orphans: Index<ReplicaSet>,
    events: EventRecorder,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let deployments = shared.informers.store::<Deployment>();
    let sets = shared.informers.store::<ReplicaSet>();
    let controller = Arc::new(Controller {
        deployments: deployments.clone(),
        orphans: sets.index(|set| match controller_of(&set.metadata) {
            Some(_) => Vec::new(),
            None => set.metadata.namespace.clone().into_iter().collect(),
        }),
        sets: sets.clone(),
        pods: shared.informers.store::<Pod>(),
        events: shared.events("deployment-controller"),
    });
    let runner = shared.runner("deployment-controller").workers(4);
    let runner = runner.watches_itself::<Deployment>().watches_owned::<ReplicaSet, Deployment>();
    let takers_of = deployments.clone();
    let runner = runner.watches::<ReplicaSet>(move |change| {
        change.new.map(|set| takers(&takers_of, set)).unwrap_or_default()
    });
    // Only Recreate waits for pods: for the last of them to go.
    let runner = runner.watches::<Pod>(move |change| match (change.old, change.new) {
        (Some(pod), new) if new.is_none_or(|pod| crate::pods::is_finished(pod)) => {
            recreator(&deployments, &sets, pod).into_iter().collect()
        }
        _ => Vec::new(),
    });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

/// The Deployments that would take a set without a controller.
fn takers(deployments: &Store<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    if controller_of(&set.metadata).is_some() {
        return Vec::new();
    }
    let deployments = deployments.list_in(set.metadata.namespace.as_deref().unwrap_or_default());
    let matches = |deployment: &&Arc<Deployment>| {
        let selector = labels::selector(deployment.spec.as_ref().map(|spec| &spec.selector));
        labels::matches(&selector, &set.metadata)
    };
    deployments.iter().filter(matches).map(|deployment| deployment.key()).collect()
}

/// The Deployment behind a pod, if it replaces its pods all at once.
fn recreator(deployments: &Store<Deployment>, sets: &Store<ReplicaSet>, pod: &Pod) -> Option<Key> {
    let namespace = pod.metadata.namespace.as_deref()?;
    let set = sets.get(namespace, &controller_of(&pod.metadata)?.name)?;
    let deployment = deployments.get(namespace, &controller_of(&set.metadata)?.name)?;
    (!Limits::of(&deployment).rolling).then(|| deployment.key())
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(deployment) = self.deployments.get_key(key) else { return Ok(Requeue::Done) };
        let mut sets = self.sets.owned_by(uid(&deployment.metadata));
        sets.retain(|set| is_controlled_by(&set.metadata, uid(&deployment.metadata)));
        let mut pods = Vec::new();
        if !Limits::of(&deployment).rolling {
            pods.extend(sets.iter().flat_map(|set| self.pods.owned_by(uid(&set.metadata))));
        }
        sets.extend(self.orphans.find(&key.namespace));
        let all = self.sets.list_in(&key.namespace);
        let taken = all.iter().filter_map(|set| set.metadata.name.clone()).collect();
        let observed = Observed { deployment: &deployment, sets: &sets, pods: &pods, taken: &taken };
        let plan = plan(&observed, ctx.now());
        self.apply(ctx, &deployment, plan.actions).await?;
        Ok(plan.look_again.map_or(Requeue::Done, Requeue::After))
    }

    /// Writes the sets, and once that is done the status: it must not tell of a set that could not be made. What is refused
    /// fails the run, which is then made again from what is there.
    async fn apply(&self, ctx: &Ctx, deployment: &Deployment, actions: Vec<Action>) -> Result<(), Error> {
        let is_status = |action: &Action| matches!(action, Action::Status { .. });
        let (told, done): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_status);
        self.write(ctx, deployment, done).await?;
        self.write(ctx, deployment, told).await
    }

    /// Writes actions in one batch.
    async fn write(&self, ctx: &Ctx, deployment: &Deployment, actions: Vec<Action>) -> Result<(), Error> {
        let ops = actions.iter().filter_map(|action| op(deployment, action)).collect();
        let mut outcomes = ctx.write(ops).await?.into_iter();
        let mut failed = None;
        for action in &actions {
            if *action == Action::SelectsEverything {
                let message = "This deployment is selecting all pods. A non-empty selector is required.";
                self.events.warning(deployment, "SelectingAll", message);
                continue;
            }
            match outcomes.next() {
                Some(Err(status)) => failed = self.refused(ctx, deployment, action, status).await?.or(failed),
                _ => self.tell(deployment, action),
            }
        }
        failed.map_or(Ok(()), |status| Err(Error::Refused(status)))
    }

    /// The event of what has been done, if it deserves one.
    fn tell(&self, deployment: &Deployment, action: &Action) {
        let (set, from, to) = match action {
            Action::Create(set) => {
                (name(&set.metadata), 0, set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0))
            }
            Action::Update { set, scaled: Some((from, to)), .. } => (set.name.as_str(), *from, *to),
            _ => return,
        };
        if from == to {
            return;
        }
        let way = if from < to { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        self.events.normal(deployment, "ScalingReplicaSet", message);
    }

    /// What of a refusal makes the run fail. A set that cannot be made is told in the status, for people wait for it.
    async fn refused(
        &self,
        ctx: &Ctx,
        deployment: &Deployment,
        action: &Action,
        status: Status,
    ) -> Result<Option<Status>, Error> {
        match action {
            // Gone meanwhile: the Deployment itself, or a set that was to go anyway.
            Action::Delete { .. } | Action::Status { .. } if status.reason == "NotFound" => Ok(None),
            Action::Create(set) if !matches!(status.reason.as_str(), "AlreadyExists" | "Conflict") => {
                let message =
                    format!("Failed to create new replica set \"{}\": {status}", name(&set.metadata));
                self.events.warning(deployment, "ReplicaSetCreateError", message.clone());
                let mut conditions =
                    deployment.status.clone().and_then(|status| status.conditions).unwrap_or_default();
                let of_type = conditions::PROGRESSING;
                let new =
                    conditions::condition(of_type, "False", "ReplicaSetCreateError", message, ctx.now());
                let before = conditions.clone();
                conditions::set(&mut conditions, new);
                if conditions == before {
                    return Ok(Some(status));
                }
                let patch = json!({"metadata": {"uid": deployment.metadata.uid}, "status": {"conditions": conditions}});
                ctx.write_one(Op::merge_status(deployment.key(), patch)).await?;
                Ok(Some(status))
            }
            _ => Ok(Some(status)),
        }
    }
}

fn op(deployment: &Deployment, action: &Action) -> Option<Op> {
    Some(match action {
        Action::Adopt { set, patch } | Action::Release { set, patch } | Action::Update { set, patch, .. } => {
            Op::merge(set.clone(), patch.clone())
        }
        Action::Create(set) => Op::create(&**set),
        Action::Delete { set, uid } => Op::Delete {
            key: set.clone(),
            uid: Some(uid.clone()),
            revision: None,
            grace_seconds: None,
            propagation: None,
        },
        Action::Status { patch } => Op::merge_status(deployment.key(), patch.clone()),
        Action::SelectsEverything => return None,
    })
}

#[cfg(test)]
mod tests;
