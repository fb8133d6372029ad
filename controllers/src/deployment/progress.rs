//! A Deployment's conditions. Unlike others' they stand in the order of their last change, and one that says the same stays
//! as it is, as upstream has it.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;

use crate::conditions::{find, remove};
use crate::time::seconds;

/// Enough pods are available.
pub const AVAILABLE: &str = "Available";
/// The rollout of the current version progresses.
pub const PROGRESSING: &str = "Progressing";
/// Pods cannot be made or removed.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// A condition that is so from now on.
pub fn condition(
    of_type: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: of_type.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(seconds(now)),
        last_transition_time: Some(seconds(now)),
    }
}

/// Puts a condition at the end, in place of the one of its type. One with the same status and reason stands as it is;
/// one with the same status keeps the time of its transition.
pub fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_)
        && old.status == new.status
    {
        if old.reason == new.reason {
            return;
        }
        new.last_transition_time = old.last_transition_time.clone();
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}

/// Puts a condition at the end even if only its time is new: progress is told by the time of the last update.
pub fn renew(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_)
        && old.status == "True"
    {
        new.last_transition_time = old.last_transition_time.clone();
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}
