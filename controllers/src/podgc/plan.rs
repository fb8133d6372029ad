//! Which pods no other component removes.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Action, Op, Plan, Typed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::Timing;
use crate::pods::{self, DISRUPTION_TARGET};

/// All that `plan` may look at.
pub struct Observed {
    /// All pods.
    pub pods: Vec<Arc<Pod>>,
    /// Names of nodes that pods are bound to and that are not there, with the time since when.
    pub missing: BTreeMap<String, Timestamp>,
    /// How patient the controller is.
    pub timing: Timing,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its node is no more.
    Orphaned,
    /// It is being deleted, and no node will ever confirm that.
    Unscheduled,
    /// It has ended, and enough others have.
    Finished,
}

/// Decides and does nothing else. It always looks again after a while: no change says that a node stays away.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let remove = |(pod, reason): (Arc<Pod>, Reason)| {
        let delete = Action::write(Op::delete(&*pod).with_grace(0));
        // A pod that has not ended is told to have failed first: whoever counts it must see why it went.
        if pods::is_finished(&pod) { delete } else { Action::write(fail(&pod, reason, now)).then(delete) }
    };
    let actions = going(observed, now).into_iter().map(remove).collect();
    Plan::of(actions).and_look_again(Some(observed.timing.pod_check))
}

fn fail(pod: &Pod, reason: Reason, now: Timestamp) -> Op {
    let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata.generation});
    if reason == Reason::Orphaned {
        let message = "PodGC: node no longer exists";
        let conditions = pods::with_condition(pod, DISRUPTION_TARGET, "DeletionByPodGC", message, now);
        status["conditions"] = json!(conditions);
    }
    let meta = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
    Op::merge_status(pod.key(), json!({"metadata": meta, "status": status}))
}

/// Which pods go, and why.
fn going(observed: &Observed, now: Timestamp) -> Vec<(Arc<Pod>, Reason)> {
    let timing = &observed.timing;
    let quarantine = SignedDuration::try_from(timing.orphan_quarantine).unwrap_or(SignedDuration::MAX);
    let released = |since: &Timestamp| since.checked_add(quarantine).is_ok_and(|end| end <= now);
    let mut going = Vec::new();
    let mut finished = Vec::new();
    for pod in &observed.pods {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        // It was deleted without a grace period already; only a finalizer holds it.
        if deleted && pod.metadata.deletion_grace_period_seconds == Some(0) {
            continue;
        }
        match node(pod) {
            Some(node) if observed.missing.get(node).is_some_and(released) => {
                going.push((pod.clone(), Reason::Orphaned));
            }
            None if deleted => going.push((pod.clone(), Reason::Unscheduled)),
            _ if pods::is_finished(pod) && !deleted => finished.push(pod),
            _ => {}
        }
    }
    let excess = finished.len().saturating_sub(timing.finished_pods);
    if excess > 0 {
        finished.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
        going.extend(finished.into_iter().take(excess).map(|pod| (pod.clone(), Reason::Finished)));
    }
    going
}

/// The node that a pod is bound to.
pub fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Make, pod, time};

    #[test]
    fn only_what_nobody_else_cleans_up_goes() {
        let timing = Timing { finished_pods: 1, ..Timing::kubernetes() };
        let missing = BTreeMap::from([("gone".to_owned(), time(0).0), ("new".to_owned(), time(30).0)]);
        let cases: Vec<(&str, Make, Option<Reason>)> = vec![
            ("bound to a living node", pod("a").node("n"), None),
            ("bound to a lost one", pod("a").node("gone"), Some(Reason::Orphaned)),
            ("lost only just now", pod("a").node("new"), None),
            ("unbound", pod("a"), None),
            ("unbound and deleted", pod("a").deleted(1), Some(Reason::Unscheduled)),
            ("bound and deleted", pod("a").node("n").deleted(1), None),
            ("one that has ended", pod("a").node("n").phase("Failed"), None),
        ];
        for (name, pod, expected) in cases {
            let pods = vec![Arc::new(pod.build())];
            let (missing, timing) = (missing.clone(), timing.clone());
            let got = going(&Observed { pods, missing, timing }, time(45).0);
            assert_eq!(got.first().map(|(_, reason)| *reason), expected, "case: {name}");
        }
    }

    #[test]
    fn of_finished_pods_the_oldest_go() {
        let timing = Timing { finished_pods: 1, ..Timing::kubernetes() };
        let pods: Vec<Arc<Pod>> = [("a", 5), ("b", 1)]
            .map(|(n, at)| Arc::new(pod(n).created(at).phase("Succeeded").build()))
            .into();
        let got = going(&Observed { pods, missing: BTreeMap::new(), timing }, time(9).0);
        let names: Vec<_> = got.iter().map(|(pod, reason)| (pod.metadata.name.as_deref(), *reason)).collect();
        assert_eq!(names, [(Some("b"), Reason::Finished)]);
    }
}
