//! The whole plan: tables for single steps, and laws for whole rollouts, played with the ReplicaSets' own plans.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::limits::Limits;
use crate::sim::Sim;
use crate::testing::deployment;

fn version(v: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"labels": {"v": v}}}}})
}

/// A cluster that has come to rest with one version.
fn settled(replicas: i32, surge: &str, unavailable: &str) -> Sim {
    let object = deployment("x").replicas(replicas).template_label("v", "1").rolling(surge, unavailable);
    let mut sim = Sim::new(object.build());
    assert!(sim.settle(20).is_some(), "comes to rest");
    sim
}

fn conditions(sim: &Sim) -> Vec<(String, String, String)> {
    let status = sim.deployment.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    conditions.into_iter().map(|c| (c.type_, c.status, c.reason.unwrap_or_default())).collect()
}

/// Runs the controllers without any pod becoming ready, until nothing happens.
fn stall(sim: &mut Sim) {
    for _ in 0..20 {
        sim.sync_deployment();
        for set in sim.sets.keys().cloned().collect::<Vec<_>>() {
            sim.sync_set(&set);
        }
    }
}

#[test]
fn a_rollout_that_never_gets_ready_stalls_within_its_limits() {
    // Surge, unavailable, replicas; sizes of the old and the new set. Seen on upstream.
    let cases = [
        ("1", "0", 3, (3, 1)),
        ("0", "1", 3, (2, 1)),
        ("1", "1", 4, (3, 2)),
        ("2", "1", 4, (3, 3)),
        ("25%", "25%", 4, (3, 2)),
        ("50%", "0%", 4, (4, 2)),
        ("10%", "10%", 3, (3, 1)),
        ("0", "5", 3, (0, 3)),
    ];
    for (surge, unavailable, replicas, (old, new)) in cases {
        let mut sim = settled(replicas, surge, unavailable);
        sim.edit(&version("2"));
        stall(&mut sim);
        let expected = vec![("1".to_owned(), old), ("2".to_owned(), new)];
        assert_eq!(sim.sizes(), expected, "case: {surge} {unavailable} of {replicas}");
    }
}

#[test]
fn a_change_of_size_in_mid_rollout_is_shared_out() {
    // Surge, unavailable, size before and after; sizes of the old and the new set after it. Seen on upstream.
    let cases = [("3", "2", 10, 20, (14, 9)), ("2", "2", 8, 3, (1, 3))];
    for (surge, unavailable, before, after, (old, new)) in cases {
        let object = deployment("x").replicas(before).template_label("v", "1").rolling(surge, unavailable);
        let mut sim = Sim::new(object.build());
        stall(&mut sim);
        sim.clock += 1;
        sim.edit(&version("2"));
        stall(&mut sim);
        sim.edit(&json!({"spec": {"replicas": after}}));
        stall(&mut sim);
        let expected = vec![("1".to_owned(), old), ("2".to_owned(), new)];
        assert_eq!(sim.sizes(), expected, "case: {before} to {after}");
    }
}

#[test]
fn conditions_tell_how_far_a_version_is() {
    let of = |rows: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
        rows.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect()
    };
    let mut sim = Sim::new(deployment("x").spec("progressDeadlineSeconds", json!(60)).build());
    stall(&mut sim);
    let pending = of(&[
        ("Available", "False", "MinimumReplicasUnavailable"),
        ("Progressing", "True", "ReplicaSetUpdated"),
    ]);
    assert_eq!(conditions(&sim), pending);
    sim.clock += 62;
    stall(&mut sim);
    assert_eq!(conditions(&sim)[1], of(&[("Progressing", "False", "ProgressDeadlineExceeded")])[0]);
    sim.edit(&json!({"spec": {"paused": true}}));
    stall(&mut sim);
    assert_eq!(conditions(&sim)[1].2, "ProgressDeadlineExceeded", "a pause hides no failure");
    sim.edit(&json!({"spec": {"paused": false}}));
    assert!(sim.settle(20).is_some());
    let done = of(&[
        ("Available", "True", "MinimumReplicasAvailable"),
        ("Progressing", "True", "NewReplicaSetAvailable"),
    ]);
    assert_eq!(conditions(&sim), done);
}

#[test]
fn history_is_numbered_kept_and_cut() {
    let object = deployment("x").replicas(0).template_label("v", "1").spec("revisionHistoryLimit", json!(2));
    let mut sim = Sim::new(object.build());
    for v in ["1", "2", "1", "3", "4", "5"] {
        sim.edit(&version(v));
        assert!(sim.settle(10).is_some());
    }
    assert_eq!(sim.sizes().iter().map(|(v, _)| v.as_str()).collect::<Vec<_>>(), ["3", "4", "5"]);
    let annotations = sim.deployment.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "6");
}

#[test]
fn a_name_that_is_taken_makes_another_hash() {
    let mut sim = settled(1, "1", "0");
    let name = sim.sets.keys().next().cloned().expect("a set");
    let foreign = json!({"metadata": {"labels": {"app": "z"}}});
    let relabelled = crate::testing::merged(&*sim.sets[&name], &foreign);
    sim.sets.insert(name.clone(), std::sync::Arc::new(relabelled));
    assert!(sim.settle(20).is_some());
    assert_eq!(sim.sets.len(), 2);
    assert_eq!(sim.deployment.status.as_ref().and_then(|s| s.collision_count), Some(1));
    assert!(sim.sets[&name].metadata.owner_references.is_none(), "let go");
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut sim = Sim::new(deployment("x").replicas(2).template_label("v", "1").recreate().build());
    assert!(sim.settle(20).is_some());
    sim.edit(&version("2"));
    sim.sync_deployment();
    assert_eq!(sim.sizes(), [("1".into(), 0)], "the old goes first");
    sim.sync_deployment();
    assert_eq!(sim.sets.len(), 1, "its pods are still there");
    assert!(sim.settle(20).is_some());
    assert_eq!(sim.sizes(), [("1".into(), 0), ("2".into(), 2)]);
}

#[derive(Clone, Debug)]
enum Step {
    Deployment,
    Sets,
    Ready(usize),
    Version(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Deployment),
        4 => Just(Step::Sets),
        6 => (0..32_usize).prop_map(Step::Ready),
        1 => (1..4_u8).prop_map(Step::Version),
    ]
}

fn limit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["0", "1", "2", "25%", "50%", "100%"][..])
}

fn play(sim: &mut Sim, step: &Step) {
    match step {
        Step::Deployment => drop(sim.sync_deployment()),
        Step::Sets => {
            sim.sets.keys().cloned().collect::<Vec<_>>().iter().for_each(|set| drop(sim.sync_set(set)))
        }
        Step::Ready(number) => sim.make_ready(*number),
        Step::Version(v) => sim.edit(&version(&v.to_string())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever order things happen in: never too many pods, never too few that serve, and in the end the last version asked for.
    #[test]
    fn rollouts_stay_within_their_limits_and_end(
        replicas in 0..6_i32, surge in limit(), unavailable in limit(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut sim = settled(replicas, surge, unavailable);
        let limits = Limits::of(&sim.deployment);
        for step in &steps {
            sim.clock += 1;
            play(&mut sim, step);
            prop_assert!(sim.active() <= limits.most() as usize, "{} pods after {step:?}", sim.active());
            prop_assert!(sim.available() >= limits.least_available() as usize, "{} serve after {step:?}", sim.available());
        }
        prop_assert!(sim.settle(80).is_some(), "comes to rest");
        prop_assert_eq!(sim.available(), replicas as usize);
        let labels = sim.deployment.spec.clone().and_then(|s| s.template.metadata).and_then(|m| m.labels);
        let last = labels.map(|labels| labels["v"].clone()).unwrap_or_default();
        let expected = sim.uid_of(&last).into_iter().filter(|_| replicas > 0).collect();
        prop_assert_eq!(sim.owners(), expected, "only the last version runs");
        prop_assert_eq!(sim.sync_deployment(), vec![], "at rest there is nothing to do");
    }

    /// From any sizes and losses, too: the controllers come to rest with what was asked for.
    #[test]
    fn any_state_comes_to_rest(
        replicas in 0..6_i32, surge in limit(), unavailable in limit(),
        sizes in prop::collection::vec(0..9_i32, 1..4), losses in prop::collection::vec(0..32_usize, 0..5),
    ) {
        let mut sim = settled(replicas, surge, unavailable);
        for (number, size) in sizes.iter().enumerate() {
            sim.clock += 1;
            sim.edit(&version(&number.to_string()));
            sim.edit(&json!({"spec": {"replicas": size}}));
            sim.sync_deployment();
            losses.iter().for_each(|loss| sim.lose(*loss));
        }
        prop_assert!(sim.settle(80).is_some(), "comes to rest");
        prop_assert_eq!(sim.available() as i32, *sizes.last().unwrap_or(&replicas));
    }
}
