//! A Deployment's conditions: a list in the order of their last change.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentCondition;

use crate::time::seconds;

/// Enough pods are available.
pub const AVAILABLE: &str = "Available";
/// The current version gets on.
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

/// The condition of a type.
pub fn get<'a>(conditions: &'a [DeploymentCondition], of_type: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|condition| condition.type_ == of_type)
}

/// The reason of the condition of a type; empty where there is none.
pub fn reason<'a>(conditions: &'a [DeploymentCondition], of_type: &str) -> &'a str {
    get(conditions, of_type).and_then(|condition| condition.reason.as_deref()).unwrap_or_default()
}

/// Puts a condition at the end, in place of the one of its type. One with the same status and reason stands as it is;
/// one with the same status keeps the time of its transition.
pub fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(old) = get(conditions, &new.type_)
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
    if let Some(old) = get(conditions, &new.type_)
        && old.status == "True"
    {
        new.last_transition_time = old.last_transition_time.clone();
    }
    remove(conditions, &new.type_);
    conditions.push(new);
}

/// Takes the condition of a type away.
pub fn remove(conditions: &mut Vec<DeploymentCondition>, of_type: &str) {
    conditions.retain(|condition| condition.type_ != of_type);
}
