//! A Deployment's status, summed up from its sets, and whether its rollout progresses.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::progress::{self, AVAILABLE, PROGRESSING, REPLICA_FAILURE};
use super::rollout::{Rollout, available, replicas};
use crate::workload::name;
use crate::{conditions, time};

/// The status with its counts and `Available`; `Progressing` as the rollout has it.
pub fn counted(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| rollout.all().map(of).sum::<i32>();
    let actual = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let terminating =
        |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0);
    let available = sum(&available);
    let mut conditions = rollout.conditions.clone();
    let limits = rollout.limits;
    let now = rollout.now;
    let new = if available >= limits.least_available() {
        let message = "Deployment has minimum availability.";
        progress::condition(AVAILABLE, "True", "MinimumReplicasAvailable", message.into(), now)
    } else {
        let message = "Deployment does not have minimum availability.";
        progress::condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message.into(), now)
    };
    progress::set(&mut conditions, new);
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some(sum(&actual)),
        updated_replicas: some(rollout.new_set().map_or(0, actual)),
        ready_replicas: some(sum(&ready)),
        available_replicas: some(available),
        unavailable_replicas: some((sum(&replicas) - available).max(0)),
        terminating_replicas: Some(sum(&terminating)),
        collision_count: rollout.collisions,
        conditions: Some(conditions),
    }
}

/// The same during a rollout: with an estimate of its progress, and the failures of its sets.
pub fn of_rollout(rollout: &Rollout<'_>) -> DeploymentStatus {
    let mut status = counted(rollout);
    let mut conditions = status.conditions.take().unwrap_or_default();
    let reason = conditions::reason(&rollout.conditions, PROGRESSING);
    let settled = status.replicas == status.updated_replicas && reason == "NewReplicaSetAvailable";
    match rollout.deadline() {
        None => conditions::remove(&mut conditions, PROGRESSING),
        Some(_) if settled => {}
        Some(deadline) => estimate(rollout, &status, deadline, &mut conditions),
    }
    match failure(rollout) {
        Some(failure) => progress::set(&mut conditions, failure),
        None => conditions::remove(&mut conditions, REPLICA_FAILURE),
    }
    status.conditions = Some(conditions);
    status
}

fn estimate(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    deadline: i32,
    conditions: &mut Vec<DeploymentCondition>,
) {
    let subject = match rollout.new_set() {
        Some(set) => format!("ReplicaSet \"{}\"", name(&set.metadata)),
        None => format!("Deployment \"{}\"", name(&rollout.deployment.metadata)),
    };
    let condition = |status: &str, reason: &str, verb: &str| {
        progress::condition(PROGRESSING, status, reason, format!("{subject} {verb}"), rollout.now)
    };
    if is_complete(rollout.deployment, status) {
        let new = condition("True", "NewReplicaSetAvailable", "has successfully progressed.");
        progress::set(conditions, new);
    } else if has_progressed(rollout.deployment.status.as_ref(), status) {
        progress::renew(conditions, condition("True", "ReplicaSetUpdated", "is progressing."));
    } else if timed_out(conditions, deadline, rollout.now) {
        let new = condition("False", "ProgressDeadlineExceeded", "has timed out progressing.");
        progress::set(conditions, new);
    }
}

/// Whether all pods are of the new version and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let size = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    let seen = status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
    seen && counts.iter().all(|count| count.unwrap_or(0) == size)
}

/// Whether the rollout was complete when the status was last written.
pub fn was_complete(rollout: &Rollout<'_>) -> bool {
    rollout.deployment.status.as_ref().is_some_and(|status| is_complete(rollout.deployment, status))
}

fn has_progressed(old: Option<&DeploymentStatus>, new: &DeploymentStatus) -> bool {
    let default = DeploymentStatus::default();
    let old = old.unwrap_or(&default);
    let more = |of: fn(&DeploymentStatus) -> Option<i32>| of(new).unwrap_or(0) > of(old).unwrap_or(0);
    let outdated = |s: &DeploymentStatus| s.replicas.unwrap_or(0) - s.updated_replicas.unwrap_or(0);
    more(|s| s.updated_replicas)
        || more(|s| s.ready_replicas)
        || more(|s| s.available_replicas)
        || outdated(new) < outdated(old)
}

fn timed_out(conditions: &[DeploymentCondition], deadline: i32, now: Timestamp) -> bool {
    match conditions::reason(conditions, PROGRESSING) {
        "" | "NewReplicaSetAvailable" => false,
        "ProgressDeadlineExceeded" => true,
        _ => expires(conditions, deadline).is_some_and(|at| at < now),
    }
}

fn expires(conditions: &[DeploymentCondition], deadline: i32) -> Option<Timestamp> {
    let since = conditions::find(conditions, PROGRESSING)?.last_update_time.as_ref()?.0;
    since.checked_add(SignedDuration::from_secs(i64::from(deadline))).ok()
}

/// When to look whether the rollout is stuck, should nothing happen until then. Times in conditions are whole seconds, so one more.
pub fn look_again(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Option<Duration> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let reason = conditions::reason(conditions, PROGRESSING);
    if is_complete(rollout.deployment, status) || reason == "ProgressDeadlineExceeded" {
        return None;
    }
    Some(time::until(expires(conditions, rollout.deadline()?)?, rollout.now) + Duration::from_secs(1))
}

/// The failure of a set to make or remove pods, the new set's before the others'.
fn failure(rollout: &Rollout<'_>) -> Option<DeploymentCondition> {
    let failures = |set: &ReplicaSet| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    };
    let failure = rollout.new_set().and_then(failures).or_else(|| rollout.all().find_map(failures))?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
        reason: failure.reason,
        message: failure.message,
    })
}

/// A count as the API shows it, where 0 is left out.
fn some(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}
