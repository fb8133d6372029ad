//! What a ReplicaSet has to do, decided from one snapshot.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::selector::Selector;
use coracle_client::{Action, NewEvent, Op, Plan, Refusal, Typed};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::status::{self, Failure, status};
use super::victims::victims;
use crate::workload::{claim_all, name, new_pod};
use crate::{patch, pods, time};

/// How many pods a set makes or removes in one turn, as upstream's `BurstReplicas`: then it looks again, for somebody may
/// have asked for another number meanwhile.
pub const BURST: usize = 500;

/// All that `plan` may look at.
pub struct Observed {
    /// The set.
    pub set: Arc<ReplicaSet>,
    /// Its selector.
    pub selector: Arc<Selector>,
    /// Pods that carry its uid as their controller, and those of its namespace without a controller.
    pub pods: Vec<Arc<Pod>>,
    /// Pods of all sets that the same Deployment owns, its own included.
    pub related: Vec<Arc<Pod>>,
}

/// The pods that are the set's, once it has taken and dropped what it should.
struct Claimed {
    /// They count as replicas.
    active: Vec<Arc<Pod>>,
    /// How many are being deleted.
    terminating: usize,
    /// What takes and drops the others.
    actions: Vec<Action>,
}

/// Decides and does nothing else: same input, same output, and no actions once converged.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let set = &*observed.set;
    let Claimed { active, terminating, mut actions } = claim_pods(observed);
    let missing = replicas(set).abs_diff(active.len());
    if missing > 0 && set.metadata.deletion_timestamp.is_none() {
        // The pods' own changes wake the set again: then the status is written, once instead of twice.
        actions.extend(manage(observed, &active, now));
        return Plan::of(actions).and_look_again((missing > BURST).then_some(Duration::ZERO));
    }
    actions.extend(tell(set, &status(set, &active, terminating, None, now)));
    let next = status::next_available(set, &active, now);
    Plan::of(actions).and_look_again(next.map(|at| time::until(at, now)))
}

/// The status that tells of pods that could not be made or removed.
pub fn failed(observed: &Observed, refusals: &[Refusal], now: Timestamp) -> Vec<Action> {
    let failure = refusals.iter().find_map(|refusal| {
        let reason = match refusal.action.op()? {
            Op::Create { .. } => "FailedCreate",
            Op::Delete { .. } => "FailedDelete",
            Op::Update { .. } | Op::Patch { .. } => return None,
        };
        Some(Failure { reason, message: refusal.status.to_string() })
    });
    let Some(failure) = failure else { return Vec::new() };
    let Claimed { active, terminating, .. } = claim_pods(observed);
    let set = &*observed.set;
    tell(set, &status(set, &active, terminating, Some(&failure), now)).into_iter().collect()
}

/// Sorts the pods into the set's own and others'.
fn claim_pods(observed: &Observed) -> Claimed {
    let living: Vec<Arc<Pod>> = observed.pods.iter().filter(|pod| !pods::is_finished(pod)).cloned().collect();
    let claimed = claim_all(&*observed.set, &observed.selector, &living, pods::is_active);
    let (terminating, active): (Vec<_>, Vec<_>) =
        claimed.mine.into_iter().partition(|pod| pods::is_terminating(pod));
    Claimed { active, terminating: terminating.len(), actions: claimed.actions }
}

/// What brings the set to its size, or nearer to it.
fn manage(observed: &Observed, active: &[Arc<Pod>], now: Timestamp) -> Vec<Action> {
    let set = &*observed.set;
    let want = replicas(set);
    if active.len() < want {
        return vec![create(set, (want - active.len()).min(BURST))];
    }
    let excess = (active.len() - want).min(BURST);
    victims(active, &observed.related, excess, now).iter().map(|pod| delete(set, pod)).collect()
}

fn create(set: &ReplicaSet, count: usize) -> Action {
    let op = Op::Create {
        kind: Pod::kind(),
        namespace: set.metadata.namespace.clone().unwrap_or_default(),
        sub: None,
        object: new_pod(set, set.spec.as_ref().and_then(|spec| spec.template.as_ref())),
    };
    Action::create_many(op, count)
        .with_event(NewEvent::normal(set, "SuccessfulCreate", "Created pod: {name}"))
        .with_event_if_refused(NewEvent::warning(set, "FailedCreate", "Error creating: {refusal}"))
}

fn delete(set: &ReplicaSet, pod: &Pod) -> Action {
    let deleted = NewEvent::normal(set, "SuccessfulDelete", format!("Deleted pod: {}", name(&pod.metadata)));
    let refused = NewEvent::warning(set, "FailedDelete", "Error deleting: {refusal}");
    Action::write(Op::delete(pod)).with_event(deleted).with_event_if_refused(refused)
}

/// The write of what has to change in the set's status, if anything.
fn tell(set: &ReplicaSet, new: &ReplicaSetStatus) -> Option<Action> {
    let old = json!(set.status.clone().unwrap_or_default());
    let status = patch::difference(&old, &json!(new))?;
    let patch = json!({"metadata": {"uid": set.metadata.uid}, "status": status});
    Some(Action::write(Op::merge_status(set.key(), patch)))
}

/// How many pods the set wants.
pub fn replicas(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}
