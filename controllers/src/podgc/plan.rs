//! Which pods nobody else will clean up.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::{Timing, pods};

/// All that `plan` may look at.
pub struct Observed<'a> {
    /// All pods.
    pub pods: &'a [Arc<Pod>],
    /// Names of nodes that pods are bound to and that are not there, with the time since when.
    pub missing: &'a BTreeMap<String, Timestamp>,
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its node is no more.
    Orphaned,
    /// It is being deleted, and no node will ever confirm that.
    Unscheduled,
    /// It has ended, and enough others have.
    Finished,
}

/// Decides and does nothing else: which pods go, and why.
pub fn plan(observed: &Observed<'_>, timing: &Timing, now: Timestamp) -> Vec<(Arc<Pod>, Reason)> {
    let quarantine = SignedDuration::try_from(timing.orphan_quarantine).unwrap_or(SignedDuration::MAX);
    let released = |since: &Timestamp| since.checked_add(quarantine).is_ok_and(|end| end <= now);
    let mut going = Vec::new();
    let mut finished = Vec::new();
    for pod in observed.pods {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        // It has been asked to go at once; only a finalizer holds it.
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
            let pods = [Arc::new(pod.build())];
            let got = plan(&Observed { pods: &pods, missing: &missing }, &timing, time(45).0);
            assert_eq!(got.first().map(|(_, reason)| *reason), expected, "case: {name}");
        }
    }

    #[test]
    fn of_finished_pods_the_oldest_go() {
        let timing = Timing { finished_pods: 1, ..Timing::kubernetes() };
        let pods: Vec<Arc<Pod>> = [("a", 5), ("b", 1)]
            .map(|(n, at)| Arc::new(pod(n).created(at).phase("Succeeded").build()))
            .into();
        let got = plan(&Observed { pods: &pods, missing: &BTreeMap::new() }, &timing, time(9).0);
        let names: Vec<_> = got.iter().map(|(pod, reason)| (pod.metadata.name.as_deref(), *reason)).collect();
        assert_eq!(names, [(Some("b"), Reason::Finished)]);
    }
}
