//! Single steps, and the law that a set comes to rest.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Action, Controller, Op};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::json;

use super::status::{self, Failure};
use super::{Observed, ReplicaSets};
use crate::testing::{Make, pod, set, time};

fn now() -> Timestamp {
    time(100).0
}

/// What the plan does, in words.
fn planned(set: &ReplicaSet, pods: Vec<Make>) -> Vec<String> {
    let pods: Vec<Arc<Pod>> = pods.into_iter().map(|pod| Arc::new(pod.build())).collect();
    let selector = Arc::new(crate::labels::selector(set.spec.as_ref().map(|spec| &spec.selector)));
    let observed = Observed { set: Arc::new(set.clone()), selector, related: pods.clone(), pods };
    let word = |action: &Action| match action.op() {
        Some(Op::Create { .. }) => format!("create {}", action.times()),
        Some(Op::Delete { key, .. }) => format!("delete {}", key.name),
        Some(Op::Patch { sub: Some("status"), .. }) => "status".into(),
        Some(Op::Patch { key, patch, .. }) if patch["metadata"]["ownerReferences"].is_array() => {
            format!("adopt {}", key.name)
        }
        Some(Op::Patch { key, .. }) => format!("release {}", key.name),
        other => format!("{other:?}"),
    };
    ReplicaSets::plan(&observed, now()).actions.iter().map(word).collect()
}

fn own(name: &str) -> Make {
    pod(name).owned("ReplicaSet", "web", "web-uid")
}

#[test]
fn pods_are_taken_dropped_made_and_removed() {
    let cases: Vec<(&str, i32, Vec<Make>, &[&str])> = vec![
        ("none yet", 2, vec![], &["create 2"]),
        ("failed pods do not count", 1, vec![own("a").phase("Failed")], &["create 1"]),
        ("terminating ones are replaced at once", 1, vec![own("a").deleted(5)], &["create 1"]),
        ("unknown ones count", 1, vec![own("a").phase("Unknown")], &["status"]),
        ("one too many", 1, vec![own("a").ready(1), own("b")], &["delete b"]),
        ("an orphan is taken", 1, vec![pod("a")], &["adopt a", "status"]),
        ("one orphan beyond need", 1, vec![pod("a").ready(1), own("b")], &["adopt a", "delete b"]),
        ("a finished orphan is left", 0, vec![pod("a").phase("Succeeded")], &["status"]),
        ("another's stays another's", 1, vec![pod("a").owned("ReplicaSet", "web", "other")], &["create 1"]),
        ("relabelled", 1, vec![own("a").label("app", "z")], &["release a", "create 1"]),
    ];
    for (name, replicas, pods, expected) in cases {
        assert_eq!(planned(&set("web").replicas(replicas).build(), pods), expected, "case: {name}");
    }
}

#[test]
fn no_turn_makes_or_removes_more_than_a_burst() {
    let turn = |replicas: i32, present: usize| {
        let pods: Vec<Arc<Pod>> = (0..present).map(|n| Arc::new(own(&format!("p{n}")).build())).collect();
        let set: ReplicaSet = set("web").replicas(replicas).build();
        let selector = Arc::new(crate::labels::selector(set.spec.as_ref().map(|spec| &spec.selector)));
        let observed = Observed { set: Arc::new(set), selector, related: pods.clone(), pods };
        let plan = ReplicaSets::plan(&observed, now());
        (plan.actions.iter().map(Action::times).sum::<usize>(), plan.look_again)
    };
    assert_eq!(turn(100_000, 3), (500, Some(Duration::ZERO)));
    assert_eq!(turn(1, 2_000), (500, Some(Duration::ZERO)));
    assert_eq!(turn(500, 0), (500, None));
}

#[test]
fn a_set_on_its_way_out_leaves_its_pods_alone() {
    let set = set("web").replicas(3).deleted(1).build();
    assert_eq!(planned(&set, vec![own("a"), pod("b"), own("c").label("app", "z")]), ["status"]);
}

#[test]
fn the_status_counts_what_is_there() {
    let set: ReplicaSet =
        set("web").replicas(3).spec("minReadySeconds", json!(10)).template_label("v", "1").build();
    let pods = [own("a").label("v", "1").ready(1), own("b").ready(95), own("c")];
    let pods: Vec<Arc<Pod>> = pods.map(|pod| Arc::new(pod.build())).into();
    let status = status::status(&set, &pods, 1, None, now());
    assert_eq!(
        json!(status),
        json!({"replicas": 3, "fullyLabeledReplicas": 1, "readyReplicas": 2, "availableReplicas": 1,
            "terminatingReplicas": 1, "observedGeneration": 1}),
    );
    assert_eq!(status::next_available(&set, &pods, now()), Some(time(105).0));
    let empty = status::status(&set, &[], 0, None, now());
    assert_eq!(json!(empty), json!({"replicas": 0, "terminatingReplicas": 0, "observedGeneration": 1}));
}

#[test]
fn a_failure_is_told_once_and_forgotten_when_it_ends() {
    let failure = |message: &str| Failure { reason: "FailedCreate", message: message.into() };
    let mut set: ReplicaSet = set("web").build();
    set.status = Some(status::status(&set, &[], 0, Some(&failure("first")), now()));
    let again = status::status(&set, &[], 0, Some(&failure("second")), time(200).0);
    assert_eq!(Some(&again), set.status.as_ref(), "no write for every attempt");
    assert_eq!(status::status(&set, &[], 0, None, now()).conditions, None);
}

proptest! {
    /// Whatever pods there are: a few rounds of plan and apply, and there is nothing left to do; others' pods are untouched.
    #[test]
    fn any_set_comes_to_rest(replicas in 0..8_i32, kinds in prop::collection::vec(0..7_u8, 0..12)) {
        let object = crate::testing::deployment("x").replicas(0).build();
        let mut sim = crate::sim::Sim::new(object);
        sim.sets.insert("web".into(), Arc::new(set("web").replicas(replicas).build()));
        for (number, kind) in kinds.iter().enumerate() {
            let name = format!("p{number}");
            let pod = match kind {
                0 => own(&name),
                1 => own(&name).ready(1),
                2 => own(&name).phase("Failed"),
                3 => own(&name).label("app", "z"),
                4 => pod(&name),
                5 => pod(&name).owned("ReplicaSet", "other", "other-uid"),
                _ => own(&name).deleted(5),
            };
            sim.pods.insert(name, Arc::new(pod.build()));
        }
        let foreign = |sim: &crate::sim::Sim| -> Vec<String> {
            let owned = |pod: &Arc<Pod>| crate::workload::is_controlled_by(&pod.metadata, "other-uid");
            sim.pods.iter().filter(|(_, pod)| owned(pod)).map(|(name, _)| name.clone()).collect()
        };
        let before = foreign(&sim);
        let rounds = (0..6).find(|_| sim.sync_set("web").is_empty());
        prop_assert!(rounds.is_some(), "comes to rest");
        let mine = |pod: &&Arc<Pod>| crate::workload::is_controlled_by(&pod.metadata, "web-uid") && crate::pods::is_active(pod);
        prop_assert_eq!(sim.pods.values().filter(mine).count(), replicas as usize);
        prop_assert_eq!(foreign(&sim), before);
    }
}
