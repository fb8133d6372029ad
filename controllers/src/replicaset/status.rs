//! What a ReplicaSet's status says, counted from its pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::{conditions, pods};

/// The condition of a set that cannot make or remove pods.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Why pods could not be made or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The server's words.
    pub message: String,
}

/// The status of `set`, given its active pods and those being deleted, and how its last attempt to change them ended.
pub fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let wait = min_ready(set);
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let labels =
        template.and_then(|template| template.metadata.as_ref()).and_then(|meta| meta.labels.as_ref());
    let counted = |is: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| is(pod)).count();
    ReplicaSetStatus {
        replicas: int(active.len()),
        fully_labeled_replicas: some(counted(&|pod| has_labels(pod, labels))),
        ready_replicas: some(counted(&pods::is_ready)),
        available_replicas: some(counted(&|pod| pods::is_available(pod, wait, now))),
        terminating_replicas: Some(int(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    }
}

/// How long a pod must be ready to count as available.
pub fn min_ready(set: &ReplicaSet) -> Duration {
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// When the next ready pod becomes available, if one waits for that.
pub fn next_available(set: &ReplicaSet, active: &[Arc<Pod>], now: Timestamp) -> Option<Timestamp> {
    active.iter().filter_map(|pod| pods::available_at(pod, min_ready(set))).filter(|at| *at > now).min()
}

fn has_labels(pod: &Pod, wanted: Option<&BTreeMap<String, String>>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
}

/// A failure that stands keeps its first words and time, as upstream's does: an event tells of each attempt.
fn conditions(
    set: &ReplicaSet,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    match failure {
        Some(_) if conditions::find(&all, REPLICA_FAILURE).is_some() => {}
        Some(failure) => {
            let new = ReplicaSetCondition {
                type_: REPLICA_FAILURE.into(),
                status: "True".into(),
                reason: Some(failure.reason.into()),
                message: Some(failure.message.clone()),
                last_transition_time: None,
            };
            conditions::put(&mut all, new, now);
        }
        None => conditions::remove(&mut all, REPLICA_FAILURE),
    }
    Some(all).filter(|all| !all.is_empty())
}

fn int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A count as the API shows it, where 0 is left out.
fn some(count: usize) -> Option<i32> {
    Some(int(count)).filter(|count| *count != 0)
}
