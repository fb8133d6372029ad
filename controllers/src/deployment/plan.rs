//! What a Deployment has to do, decided from one snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::selector::Selector;
use coracle_client::{Action, NewEvent, Op, Plan, Refusal, Typed};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::progress::{self, PROGRESSING};
use super::revision::REVISION;
use super::rollout::Rollout;
use super::{scale, status, steps};
use crate::workload::{claim_all, controller_of};
use crate::{conditions, patch};

/// All that `plan` may look at.
pub struct Observed {
    /// The Deployment.
    pub deployment: Arc<Deployment>,
    /// Its selector.
    pub selector: Arc<Selector>,
    /// ReplicaSets that carry its uid as their controller, and those of its namespace without a controller.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// Pods that these sets control.
    pub pods: Vec<Arc<Pod>>,
    /// The names in the namespace that a set of this Deployment could have, and that some set has.
    pub taken: BTreeSet<String>,
}

/// Decides and does nothing else: same input, same output, and no actions once converged.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let deployment = &*observed.deployment;
    if observed.selector.is_everything() {
        return Plan::of(selects_everything(deployment));
    }
    let claimed = claim_all(deployment, &observed.selector, &observed.sets, |_| true);
    let sets = claimed.mine.iter().map(|set| ReplicaSet::clone(set)).collect();
    let mut rollout = Rollout::new(deployment, sets, &observed.taken, now);
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    if !leaving {
        note_pause(&mut rollout, paused);
    }
    rollout.sync_revision();
    let status = if leaving {
        status::counted(&rollout)
    } else if paused || scale::is_due(&rollout) {
        scale::scale(&mut rollout);
        if paused {
            steps::clean_up(&mut rollout);
        }
        status::counted(&rollout)
    } else {
        if rollout.limits.rolling {
            steps::rolling(&mut rollout);
        } else {
            steps::recreate(&mut rollout, &controlled(&observed.pods));
        }
        status::of_rollout(&rollout)
    };
    let look_again = if leaving || paused { None } else { status::look_again(&rollout, &status) };
    let status_write = status_patch(deployment, &status, rollout.revision.as_deref());
    let mut actions = claimed.actions;
    let mut on_sets = rollout.actions();
    match status_write.map(|patch| Action::write(Op::merge_status(deployment.key(), patch))) {
        // The status follows the creation of the set, so that it never describes a set that could not be made.
        Some(status_write) if on_sets.first().is_some_and(makes) => {
            let create = on_sets.remove(0).then(status_write);
            actions.push(create);
            actions.extend(on_sets);
        }
        status_write => actions.extend(on_sets.into_iter().chain(status_write)),
    }
    Plan::of(actions).and_look_again(look_again)
}

fn makes(action: &Action) -> bool {
    matches!(action.op(), Some(Op::Create { .. }))
}

/// What the status says when a set could not be made: people wait for it. A name that is taken is no such case, for the
/// next plan makes another.
pub fn failed(observed: &Observed, refusals: &[Refusal], now: Timestamp) -> Vec<Action> {
    let deployment = &*observed.deployment;
    let counts = |refusal: &&Refusal| {
        makes(&refusal.action) && !matches!(refusal.status.reason.as_str(), "AlreadyExists" | "Conflict")
    };
    let Some(refusal) = refusals.iter().find(counts) else { return Vec::new() };
    let set = refusal.action.op().map(|op| op.key().name).unwrap_or_default();
    let message = format!("Failed to create new replica set \"{set}\": {}", refusal.status);
    let warning = Action::event(NewEvent::warning(deployment, "ReplicaSetCreateError", message.clone()));
    let before = deployment.status.clone().and_then(|status| status.conditions).unwrap_or_default();
    let mut conditions = before.clone();
    let new = progress::condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
    progress::set(&mut conditions, new);
    if conditions == before {
        return vec![warning];
    }
    let patch = json!({"metadata": {"uid": deployment.metadata.uid}, "status": {"conditions": conditions}});
    vec![warning, Action::write(Op::merge_status(deployment.key(), patch))]
}

/// Pods with the uid of the set that controls each.
fn controlled(pods: &[Arc<Pod>]) -> Vec<(String, &Pod)> {
    let set = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    pods.iter().filter_map(|pod| Some((set(pod)?, &**pod))).collect()
}

/// While a Deployment is paused its progress is not timed; one that was already stuck stays so.
fn note_pause(rollout: &mut Rollout<'_>, paused: bool) {
    if rollout.deadline().is_none() {
        return;
    }
    match conditions::reason(&rollout.conditions, PROGRESSING) {
        "ProgressDeadlineExceeded" => {}
        "DeploymentPaused" if !paused => {
            rollout.progress("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
        "DeploymentPaused" => {}
        _ if paused => rollout.progress("Unknown", "DeploymentPaused", "Deployment is paused".into()),
        _ => {}
    }
}

/// A Deployment that selects every pod does nothing but warn of that.
fn selects_everything(deployment: &Deployment) -> Vec<Action> {
    let mut status = deployment.status.clone().unwrap_or_default();
    let generation = deployment.metadata.generation;
    if status.observed_generation == generation {
        return Vec::new();
    }
    status.observed_generation = generation;
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    let warning = Action::event(NewEvent::warning(deployment, "SelectingAll", message));
    let status_write = status_patch(deployment, &status, None);
    let status_write = status_write.map(|patch| Action::write(Op::merge_status(deployment.key(), patch)));
    [warning].into_iter().chain(status_write).collect()
}

/// What has to change in the Deployment's status and in the number of its version, if anything.
fn status_patch(deployment: &Deployment, new: &DeploymentStatus, revision: Option<&str>) -> Option<Value> {
    let old = json!(deployment.status.clone().unwrap_or_default());
    let status = patch::difference(&old, &json!(new));
    let annotations = deployment.metadata.annotations.as_ref();
    let numbered = annotations.and_then(|annotations| annotations.get(REVISION)).map(String::as_str);
    let revision = revision.filter(|revision| numbered != Some(revision));
    if status.is_none() && revision.is_none() {
        return None;
    }
    let mut patch = json!({"metadata": {"uid": deployment.metadata.uid}});
    if let Some(status) = status {
        patch["status"] = status;
    }
    if let Some(revision) = revision {
        patch["metadata"]["annotations"] = json!({REVISION: revision});
    }
    Some(patch)
}
