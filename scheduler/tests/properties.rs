//! Laws: no node is ever overcommitted, whoever is bound passes every filter, and every decision can be replayed.

mod common;

use std::sync::Arc;

use common::{Cluster, asks, port};
use coracle_scheduler::class::Classes;
use coracle_scheduler::decide::{Outcome, decide, judge};
use coracle_scheduler::filter::Ask;
use coracle_scheduler::neighbours::Neighbours;
use coracle_scheduler::pod::Pod;
use coracle_scheduler::profile::Profile;
use coracle_scheduler::view::NodeView;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Step {
    Node { name: u8, cpu: u32, tainted: bool, disk: bool },
    RemoveNode(u8),
    Pod(PodKind),
    Finish(u8),
}

#[derive(Clone, Debug)]
enum PodKind {
    Plain {
        cpu: u32,
        memory: u32,
    },
    Port(u8),
    OnSsd {
        cpu: u32,
    },
    /// Without rules of its own, but meant by those of [`PodKind::Apart`].
    Web {
        cpu: u32,
    },
    Apart,
    Spread,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pod = prop_oneof![
        4 => (0..1500u32, 0..2048u32).prop_map(|(cpu, memory)| PodKind::Plain { cpu, memory }),
        1 => (0..3u8).prop_map(PodKind::Port),
        2 => (0..900u32).prop_map(|cpu| PodKind::OnSsd { cpu }),
        2 => (0..900u32).prop_map(|cpu| PodKind::Web { cpu }),
        1 => Just(PodKind::Apart),
        1 => Just(PodKind::Spread),
    ];
    let step = prop_oneof![
        2 => (0..6u8, 500..4000u32, any::<bool>(), any::<bool>()).prop_map(|(name, cpu, tainted, disk)| Step::Node { name, cpu, tainted: tainted && disk, disk }),
        1 => (0..6u8).prop_map(Step::RemoveNode),
        8 => pod.prop_map(Step::Pod),
        2 => any::<u8>().prop_map(Step::Finish),
    ];
    prop::collection::vec(step, 1..60)
}

fn object(kind: &PodKind) -> Value {
    let labelled = |spec: Value| json!({ "metadata": { "labels": { "app": "web" } }, "spec": spec });
    let selector = json!({ "matchLabels": { "app": "web" } });
    match kind {
        PodKind::Plain { cpu, memory } => {
            asks(json!({ "cpu": format!("{cpu}m"), "memory": format!("{memory}Mi") }))
        }
        PodKind::Port(n) => port(8000 + i32::from(*n), ""),
        PodKind::OnSsd { cpu } => {
            let mut pod = asks(json!({ "cpu": format!("{cpu}m") }));
            pod["spec"]["nodeSelector"] = json!({ "disk": "ssd" });
            pod
        }
        PodKind::Web { cpu } => {
            let mut pod = asks(json!({ "cpu": format!("{cpu}m") }));
            pod["metadata"]["labels"] = json!({ "app": "web" });
            pod
        }
        PodKind::Apart => labelled(
            json!({ "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
            { "labelSelector": selector, "topologyKey": "kubernetes.io/hostname" }
        ] } } }),
        ),
        PodKind::Spread => labelled(json!({ "topologySpreadConstraints": [
            { "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector }
        ] })),
    }
}

/// Plays the steps; returns where each pod went.
fn play(steps: &[Step], profile: &str, seed: u64) -> Vec<Option<String>> {
    let mut cluster = Cluster::default();
    let profile = Profile::named(profile).expect("built in");
    let mut classes = Classes::new(profile.clone(), seed);
    let (mut went, mut alive) = (Vec::new(), Vec::new());
    for (turn, step) in steps.iter().enumerate() {
        match step {
            Step::Node { name, cpu, tainted, disk } => {
                let taints =
                    if *tainted { json!([{ "key": "k", "effect": "NoSchedule" }]) } else { json!([]) };
                let disk = if *disk { "ssd" } else { "hdd" };
                cluster.node(
                    &format!("n{name}"),
                    json!({
                        "metadata": { "labels": { "disk": disk } },
                        "spec": { "taints": taints },
                        "status": { "allocatable": { "cpu": format!("{cpu}m") } },
                    }),
                );
            }
            Step::RemoveNode(name) => {
                cluster.snapshot.remove_node(&format!("n{name}"));
            }
            Step::Finish(which) => {
                if !alive.is_empty() {
                    let key: Arc<str> = alive.swap_remove(usize::from(*which) % alive.len());
                    cluster.snapshot.displace(&key);
                }
            }
            Step::Pod(kind) => {
                let pod = cluster.read(&format!("p{turn}"), object(kind));
                let whole = decide(&pod, &cluster.snapshot, &profile, seed);
                let chosen = classes.choose(&pod, &cluster.snapshot);
                assert_eq!(chosen, whole.node, "what a class remembers differs from a look at every node");
                assert_eq!(classes.explain(&pod, &cluster.snapshot), whole);
                let Some(slot) = chosen else {
                    went.push(None);
                    continue;
                };
                let neighbours = Neighbours::of(&pod, &cluster.snapshot);
                let node = &cluster.snapshot.nodes()[slot];
                let facts = node.facts.as_ref().expect("a chosen node exists");
                let outcome = judge(
                    &Ask { pod: &pod, neighbours: &neighbours },
                    NodeView { node, facts },
                    &profile,
                    seed,
                );
                assert!(matches!(outcome, Outcome::Fits(_)), "bound against a filter: {outcome:?}");
                let fits = |want: i64, all: i64, used: i64| want == 0 || want + used <= all;
                let (want, all, used) = (&pod.shape.requests, &facts.allocatable, &node.used);
                assert!(
                    fits(want.cpu, all.cpu, used.cpu) && fits(want.memory, all.memory, used.memory),
                    "overcommitted"
                );
                let name = node.name.clone();
                alive.push(pod.key.clone());
                cluster.snapshot.place(Arc::new(Pod { node: Some(name.clone()), ..pod }), &name);
                went.push(Some(name.to_string()));
            }
        }
        for (_, node, facts) in cluster.snapshot.present() {
            let sum: i64 = node.pods.iter().map(|p| p.shape.requests.cpu).sum();
            assert_eq!(sum, node.used.cpu, "the tally of {} drifted", node.name);
            assert!(i64::try_from(node.pods.len()).expect("few") <= facts.max_pods);
        }
    }
    went
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn never_overcommits_and_replays(steps in steps(), profile in prop::sample::select(vec!["bin-pack", "spread", "balanced"]), seed: u64) {
        prop_assert_eq!(play(&steps, profile, seed), play(&steps, profile, seed));
    }
}

/// Bin-pack fills the fullest node first, so that the large pod still finds a whole node.
#[test]
fn bin_pack_keeps_nodes_whole() {
    let mut cluster = Cluster::default();
    cluster.node("a", json!({})).node("b", json!({})).node("c", json!({}));
    let mut nodes = Vec::new();
    for (i, cpu) in ["500m", "500m", "500m", "500m", "2", "2"].iter().enumerate() {
        let pod = cluster.read(&format!("p{i}"), asks(json!({ "cpu": cpu })));
        let slot = cluster.decide(&pod).node.expect("it fits if the small ones are packed");
        let name = cluster.snapshot.nodes()[slot].name.clone();
        cluster.snapshot.place(Arc::new(pod), &name);
        nodes.push(name);
    }
    assert!(nodes[..4].iter().all(|n| *n == nodes[0]), "{nodes:?}");
}

#[test]
fn spread_uses_every_node() {
    let mut cluster = Cluster::default();
    cluster.node("a", json!({})).node("b", json!({})).node("c", json!({}));
    let profile = Profile::named("spread").expect("built in");
    let mut nodes: Vec<String> = (0..6)
        .map(|i| {
            let pod = cluster.read(&format!("p{i}"), json!({}));
            let slot = decide(&pod, &cluster.snapshot, &profile, 7).node.expect("it fits");
            let name = cluster.snapshot.nodes()[slot].name.clone();
            cluster.snapshot.place(Arc::new(pod), &name);
            name.to_string()
        })
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["a", "a", "b", "b", "c", "c"]);
}

/// What pods and nodes would rather have outweighs packing.
#[test]
fn wishes_outweigh_room() {
    let preferred = |key: &str, weight: i32| json!({ "weight": weight, "preference": { "matchExpressions": [{ "key": key, "operator": "Exists" }] } });
    let wish = json!({ "spec": { "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [preferred("x", 1), preferred("y", 100)] } } } });
    let mut cluster = Cluster::default();
    cluster
        .node("a", json!({ "metadata": { "labels": { "x": "1" } } }))
        .node("b", json!({ "metadata": { "labels": { "y": "1" } } }))
        .on("a", "full", asks(json!({ "cpu": "1900m", "memory": "3Gi" })));
    assert_eq!(cluster.outcome(wish), "b");
    assert_eq!(cluster.outcome(json!({})), "a");
    cluster.node("a", json!({ "spec": { "taints": [{ "key": "k", "effect": "PreferNoSchedule" }] } }));
    assert_eq!(cluster.outcome(json!({})), "b");
}
