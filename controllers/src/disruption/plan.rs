//! How many pods of a budget may go.
//!
//! Source: `pkg/controller/disruption/disruption.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_client::{Action, NewEvent, Op, Plan, Typed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use crate::workload::{Round, controller_of, uid, whole};
use crate::{conditions, patch, pods, time};

/// An eviction whose pod still exists after this time counts as not carried out.
const EVICTION: SignedDuration = SignedDuration::from_secs(2 * 60);

/// All that `plan` may look at.
pub struct Observed {
    /// The budget.
    pub budget: Arc<PodDisruptionBudget>,
    /// The pods that it selects.
    pub pods: Vec<Arc<Pod>>,
    /// Those who may have made them, of the same namespace.
    pub deployments: Vec<Arc<Deployment>>,
    /// The same.
    pub sets: Vec<Arc<ReplicaSet>>,
}

/// What is found out about a budget.
struct Count {
    /// The status as it should be.
    status: PodDisruptionBudgetStatus,
    /// Some pods could not be counted, because nobody says how many of them there are to be.
    unmanaged: bool,
    /// When the first eviction that did not happen is forgotten.
    look_again: Option<Timestamp>,
}

/// Decides and does nothing else: same input, same output, and no actions once converged.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let budget = &*observed.budget;
    let Count { status, unmanaged, look_again } = count(observed, now);
    let mut actions = Vec::new();
    let old = json!(budget.status.clone().unwrap_or_default());
    if let Some(change) = patch::difference(&old, &json!(status)) {
        // An eviction that has counted itself meanwhile must not be forgotten.
        let meta = json!({"uid": budget.metadata.uid, "resourceVersion": budget.metadata.resource_version});
        let patch = json!({"metadata": meta, "status": change});
        actions.extend(hints(observed, unmanaged));
        actions.push(Action::write(Op::merge_status(budget.key(), patch)));
    }
    Plan::of(actions).and_look_again(look_again.map(|at| time::until(at, now)))
}

/// Hints about budgets that probably do not say what their author meant.
fn hints(observed: &Observed, unmanaged: bool) -> Vec<Action> {
    let budget = &*observed.budget;
    let text = "Pods selected by this PodDisruptionBudget have no controller that says how many there are to be: \
        set .spec.minAvailable to a whole number to count them";
    let hints = [
        (observed.pods.is_empty(), NewEvent::normal(budget, "NoPods", "No matching pods found")),
        (unmanaged, NewEvent::warning(budget, "UnmanagedPods", text)),
    ];
    hints.into_iter().filter(|(holds, _)| *holds).map(|(_, event)| Action::event(event)).collect()
}

fn count(observed: &Observed, now: Timestamp) -> Count {
    let old = observed.budget.status.clone().unwrap_or_default();
    let (expected, desired, unmanaged) = bounds(observed);
    let evicted = evicted(&observed.pods, &old, now);
    let healthy = observed.pods.iter().filter(|pod| {
        let going = pod.metadata.deletion_timestamp.is_some()
            || pod.metadata.name.as_ref().is_some_and(|name| evicted.contains_key(name));
        !going && pods::is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected > 0 { healthy.saturating_sub(desired).max(0) } else { 0 };
    let generation = observed.budget.metadata.generation;
    let look_again = evicted.values().filter_map(|since| since.0.checked_add(EVICTION).ok()).min();
    let status = PodDisruptionBudgetStatus {
        conditions: Some(with_condition(&old, allowed > 0, generation, now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!evicted.is_empty()).then_some(evicted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: generation,
    };
    Count { status, unmanaged, look_again }
}

/// How many pods there are to be, how many of them must stay, and whether any could not be counted.
fn bounds(observed: &Observed) -> (i32, i32, bool) {
    let spec = observed.budget.spec.clone().unwrap_or_default();
    match (spec.max_unavailable, spec.min_available) {
        (Some(most), _) => {
            let (expected, unmanaged) = wanted(observed);
            (expected, expected.saturating_sub(whole(&most, expected, Round::Up)).max(0), unmanaged)
        }
        (None, Some(IntOrString::Int(least))) => {
            (i32::try_from(observed.pods.len()).unwrap_or(i32::MAX), least, false)
        }
        (None, Some(least)) => {
            let (expected, unmanaged) = wanted(observed);
            (expected, whole(&least, expected, Round::Up), unmanaged)
        }
        (None, None) => (0, 0, false),
    }
}

/// What all the controllers of the pods ask for together; and whether a pod has none that says.
fn wanted(observed: &Observed) -> (i32, bool) {
    let mut by_owner: BTreeMap<String, i32> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in &observed.pods {
        match scale(pod, observed) {
            Some((uid, replicas)) => drop(by_owner.insert(uid, replicas)),
            None => unmanaged = true,
        }
    }
    (by_owner.values().fold(0, |sum, replicas| sum.saturating_add(*replicas)), unmanaged)
}

/// The uid of whoever decides how many pods there are of this one's kind, and how many that is.
fn scale(pod: &Pod, observed: &Observed) -> Option<(String, i32)> {
    let owner = controller_of(&pod.metadata)?;
    let set = observed.sets.iter().find(|set| uid(&set.metadata) == owner.uid)?;
    let deployment = controller_of(&set.metadata)
        .and_then(|owner| observed.deployments.iter().find(|other| uid(&other.metadata) == owner.uid));
    Some(match deployment {
        Some(deployment) => {
            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            (uid(&deployment.metadata).to_owned(), replicas.unwrap_or(1))
        }
        None => (owner.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)),
    })
}

/// Pods whose eviction was granted, and that are not known to be deleted yet.
fn evicted(pods: &[Arc<Pod>], old: &PodDisruptionBudgetStatus, now: Timestamp) -> BTreeMap<String, Time> {
    let mut evicted = old.disrupted_pods.clone().unwrap_or_default();
    let waits = |name: &String| {
        pods.iter()
            .any(|pod| pod.metadata.name.as_ref() == Some(name) && pod.metadata.deletion_timestamp.is_none())
    };
    evicted.retain(|name, since| waits(name) && since.0.checked_add(EVICTION).is_ok_and(|end| end > now));
    evicted
}

/// The conditions with `DisruptionAllowed` as it is now; its time is that of its last change.
fn with_condition(
    old: &PodDisruptionBudgetStatus,
    allowed: bool,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut all = old.conditions.clone().unwrap_or_default();
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: time::seconds(now),
    };
    conditions::put(&mut all, new, now);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Make, pod, time};

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let budget = json!({"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": status});
        Make(budget).build()
    }

    /// Three pods of a Deployment that asks for four, of which so many are ready.
    fn status(spec: Value, ready: usize, status: Value) -> PodDisruptionBudgetStatus {
        let set = json!({"metadata": {"name": "s", "uid": "s", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true}]}});
        let deployment = json!({"metadata": {"name": "d", "uid": "d"}, "spec": {"replicas": 4, "selector": {}, "template": {}}});
        let pods = ["a", "b", "c"].into_iter().enumerate().map(|(index, name)| {
            let pod = pod(name).owned("ReplicaSet", "s", "s");
            Arc::new(if index < ready { pod.ready(0).build() } else { pod.build() })
        });
        let budget = Arc::new(budget(spec, status));
        let (deployments, sets) =
            (vec![Arc::new(Make(deployment).build())], vec![Arc::new(Make(set).build())]);
        count(&Observed { budget, pods: pods.collect(), deployments, sets }, time(10).0).status
    }

    #[test]
    fn a_budget_allows_what_is_healthy_beyond_what_must_stay() {
        // Spec, ready pods: expected, desired, allowed.
        let cases = [
            (json!({"minAvailable": 2}), 3, (3, 2, 1)),
            (json!({"minAvailable": 5}), 3, (3, 5, 0)),
            (json!({"minAvailable": "50%"}), 3, (4, 2, 1)),
            (json!({"maxUnavailable": 1}), 3, (4, 3, 0)),
            (json!({"maxUnavailable": "26%"}), 3, (4, 2, 1)),
            (json!({"maxUnavailable": 9}), 1, (4, 0, 1)),
            (json!({}), 3, (0, 0, 0)),
        ];
        for (spec, ready, expected) in cases {
            let status = status(
                spec.clone(),
                ready,
                json!({"desiredHealthy": 0, "currentHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}),
            );
            let (all, stay, go) = expected;
            let got = (status.expected_pods, status.desired_healthy, status.disruptions_allowed);
            assert_eq!(got, (Some(all), Some(stay), Some(go)), "case: {spec}");
            let condition = &status.conditions.unwrap_or_default()[0];
            assert_eq!(condition.status == "True", go > 0, "case: {spec}");
        }
    }

    #[test]
    fn an_evicted_pod_does_not_count_until_its_eviction_is_given_up() {
        let mut before =
            json!({"desiredHealthy": 1, "currentHealthy": 3, "disruptionsAllowed": 1, "expectedPods": 3});
        for (since, healthy) in [(0, 2), (-120, 3)] {
            before["disruptedPods"] = json!({"a": time(since), "gone": time(5)});
            let status = status(json!({"minAvailable": 1}), 3, before.clone());
            assert_eq!(
                (status.current_healthy, status.disruptions_allowed),
                (Some(healthy), Some(healthy - 1))
            );
            assert_eq!(status.disrupted_pods.map_or(0, |pods| pods.len()), usize::from(healthy == 2));
        }
    }

    #[test]
    fn pods_that_nobody_makes_count_only_by_number() {
        for (spec, expected) in
            [(json!({"maxUnavailable": 1}), (0, true)), (json!({"minAvailable": 1}), (1, false))]
        {
            let pods = vec![Arc::new(pod("a").ready(0).build())];
            let budget = Arc::new(budget(spec, json!(null)));
            let observed = Observed { budget, pods, deployments: Vec::new(), sets: Vec::new() };
            let count = count(&observed, time(0).0);
            assert_eq!((count.status.expected_pods, count.unmanaged), (Some(expected.0), expected.1));
        }
    }
}
