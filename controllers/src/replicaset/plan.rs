//! What a ReplicaSet has to do, decided from one snapshot.

use std::sync::Arc;

use coracle_api::Key;
use coracle_client::Typed;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::status::status;
use super::victims::victims;
use crate::owner::{self, Claim, claim, uid};
use crate::{labels, pods};

/// How many pods a set makes or removes in one turn, as upstream's `BurstReplicas`: then it looks again, for somebody may
/// have asked for another number meanwhile.
pub const BURST: usize = 500;

/// All that `plan` may look at.
pub struct Observed<'a> {
    /// The set.
    pub set: &'a ReplicaSet,
    /// Pods that carry its uid as their controller, and those of its namespace without a controller.
    pub pods: &'a [Arc<Pod>],
    /// Pods of all sets that the same Deployment owns, its own included.
    pub related: &'a [Arc<Pod>],
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take a pod that matches and has no controller.
    Adopt {
        /// Which.
        pod: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Let a pod go that no longer matches.
    Release {
        /// Which.
        pod: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Make pods from the template.
    Create {
        /// How many.
        count: usize,
    },
    /// Remove these pods, cheapest loss first.
    Delete {
        /// Key and uid of each.
        pods: Vec<(Key, String)>,
    },
    /// Tell what is there.
    Status(Box<ReplicaSetStatus>),
}

/// The pods that are the set's, once it has taken and dropped what it should.
pub struct Claimed {
    /// They count as replicas.
    pub active: Vec<Arc<Pod>>,
    /// How many are on their way out.
    pub terminating: usize,
}

/// Decides and does nothing else: same input, same output, and `[]` once converged.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Vec<Action> {
    let set = observed.set;
    let mut actions = Vec::new();
    let claimed = claim_pods(observed, &mut actions);
    if set.metadata.deletion_timestamp.is_none()
        && let Some(action) = manage(observed, &claimed.active, now)
    {
        // The pods' own changes wake the set again: then the status is told, once instead of twice.
        actions.push(action);
        return actions;
    }
    let new = status(set, &claimed.active, claimed.terminating, None, now);
    if set.status.as_ref() != Some(&new) {
        actions.push(Action::Status(Box::new(new)));
    }
    actions
}

/// Sorts the pods into the set's own and others', and notes which to take and which to drop.
pub fn claim_pods(observed: &Observed<'_>, actions: &mut Vec<Action>) -> Claimed {
    let set = observed.set;
    let selector = labels::selector(set.spec.as_ref().map(|spec| &spec.selector));
    let mut claimed = Claimed { active: Vec::new(), terminating: 0 };
    for pod in observed.pods.iter().filter(|pod| !pods::is_finished(pod)) {
        let claim = claim(&set.metadata, &pod.metadata, labels::matches(&selector, &pod.metadata));
        match claim {
            Claim::Mine if pods::is_terminating(pod) => claimed.terminating += 1,
            Claim::Mine => claimed.active.push(pod.clone()),
            Claim::Adopt => {
                let patch = owner::adoption(&pod.metadata, &owner::controller_reference(set));
                actions.push(Action::Adopt { pod: pod.key(), patch });
                claimed.active.push(pod.clone());
            }
            Claim::Release if pods::is_active(pod) => {
                let patch = owner::release(&pod.metadata, &[uid(&set.metadata)]);
                actions.push(Action::Release { pod: pod.key(), patch });
            }
            Claim::Release | Claim::Foreign => {}
        }
    }
    claimed
}

fn manage(observed: &Observed<'_>, active: &[Arc<Pod>], now: Timestamp) -> Option<Action> {
    let want = replicas(observed.set);
    if active.len() < want {
        return Some(Action::Create { count: (want - active.len()).min(BURST) });
    }
    if active.len() == want {
        return None;
    }
    let excess = (active.len() - want).min(BURST);
    let chosen = victims(active, observed.related, excess, now);
    Some(Action::Delete {
        pods: chosen.iter().map(|pod| (pod.key(), uid(&pod.metadata).to_owned())).collect(),
    })
}

/// How many pods the set wants.
pub fn replicas(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}
