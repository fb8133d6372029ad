//! What a Deployment has to do, decided from one snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Key;
use coracle_client::Typed;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::conditions::{self, PROGRESSING};
use super::draft::Draft;
use super::revision::REVISION;
use super::{rollout, scale, status};
use crate::owner::{self, Claim, claim, controller_of, uid};
use crate::{labels, patch};

/// All that `plan` may look at.
pub struct Observed<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// ReplicaSets that carry its uid as their controller, and those of its namespace without a controller.
    pub sets: &'a [Arc<ReplicaSet>],
    /// Pods that these sets control.
    pub pods: &'a [Arc<Pod>],
    /// The names of all ReplicaSets in the namespace.
    pub taken: &'a BTreeSet<String>,
}

/// What to do, and when to look again even if nothing changes.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// When a rollout that gets no further is to be called stuck.
    pub look_again: Option<Duration>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take a set that matches and has no controller.
    Adopt {
        /// Which.
        set: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Let a set go that no longer matches.
    Release {
        /// Which.
        set: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Make the set of a new version.
    Create(Box<ReplicaSet>),
    /// Change a set's size or annotations.
    Update {
        /// Which.
        set: Key,
        /// A merge patch.
        patch: Value,
        /// Its size before and after, if that changes.
        scaled: Option<(i32, i32)>,
    },
    /// Remove a set whose version is beyond the history limit.
    Delete {
        /// Which.
        set: Key,
        /// And no namesake.
        uid: String,
    },
    /// Tell what is there, and the number of the version.
    Status {
        /// A merge patch.
        patch: Value,
    },
    /// Warn that the Deployment selects every pod, and do nothing else.
    SelectsEverything,
}

/// Decides and does nothing else: same input, same output, and `[]` once converged.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let deployment = observed.deployment;
    let spec = deployment.spec.as_ref();
    let selector = labels::selector(spec.map(|spec| &spec.selector));
    if selector.is_everything() {
        return selects_everything(deployment);
    }
    let mut actions = Vec::new();
    let sets = claim_sets(observed, &mut actions);
    let mut draft = Draft::new(observed, sets, now);
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let paused = spec.and_then(|spec| spec.paused).unwrap_or(false);
    if !leaving {
        note_pause(&mut draft, paused);
    }
    draft.sync_revision();
    let status = if leaving {
        status::counted(&draft)
    } else if paused || scale::is_due(&draft) {
        scale::scale(&mut draft);
        if paused {
            rollout::clean_up(&mut draft);
        }
        status::counted(&draft)
    } else {
        if draft.limits.rolling {
            rollout::rolling(&mut draft);
        } else {
            rollout::recreate(&mut draft, &controlled(observed.pods));
        }
        status::of_rollout(&draft)
    };
    let look_again = if leaving || paused { None } else { status::look_again(&draft, &status) };
    let told = status_patch(deployment, &status, draft.revision.as_deref());
    actions.extend(draft.actions());
    actions.extend(told.map(|patch| Action::Status { patch }));
    Plan { actions, look_again }
}

/// Sorts the sets into the Deployment's own and others', and notes which to take and which to drop.
fn claim_sets(observed: &Observed<'_>, actions: &mut Vec<Action>) -> Vec<ReplicaSet> {
    let deployment = observed.deployment;
    let selector = labels::selector(deployment.spec.as_ref().map(|spec| &spec.selector));
    let mut mine = Vec::new();
    for set in observed.sets {
        match claim(&deployment.metadata, &set.metadata, labels::matches(&selector, &set.metadata)) {
            Claim::Mine => mine.push(ReplicaSet::clone(set)),
            Claim::Adopt => {
                let patch = owner::adoption(&set.metadata, &owner::controller_reference(deployment));
                actions.push(Action::Adopt { set: set.key(), patch });
                mine.push(ReplicaSet::clone(set));
            }
            Claim::Release => {
                let patch = owner::release(&set.metadata, &[uid(&deployment.metadata)]);
                actions.push(Action::Release { set: set.key(), patch });
            }
            Claim::Foreign => {}
        }
    }
    mine
}

/// Pods with the uid of the set that controls each.
fn controlled(pods: &[Arc<Pod>]) -> Vec<(String, &Pod)> {
    let set = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    pods.iter().filter_map(|pod| Some((set(pod)?, &**pod))).collect()
}

/// A paused Deployment makes no progress that could be missed; one that was already stuck stays so.
fn note_pause(draft: &mut Draft<'_>, paused: bool) {
    if draft.deadline().is_none() {
        return;
    }
    match conditions::reason(&draft.conditions, PROGRESSING) {
        "ProgressDeadlineExceeded" => {}
        "DeploymentPaused" if !paused => {
            draft.progress("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
        "DeploymentPaused" => {}
        _ if paused => draft.progress("Unknown", "DeploymentPaused", "Deployment is paused".into()),
        _ => {}
    }
}

fn selects_everything(deployment: &Deployment) -> Plan {
    let mut status = deployment.status.clone().unwrap_or_default();
    let generation = deployment.metadata.generation;
    let mut actions = vec![];
    if status.observed_generation != generation {
        status.observed_generation = generation;
        actions.push(Action::SelectsEverything);
        actions.extend(status_patch(deployment, &status, None).map(|patch| Action::Status { patch }));
    }
    Plan { actions, look_again: None }
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
