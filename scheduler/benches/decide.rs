//! How fast decisions are: 10,000 equal pods onto 1,000 nodes, and onto 5,000. No framework: a figure and a clock.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use coracle_scheduler::class::Classes;
use coracle_scheduler::node::NodeFacts;
use coracle_scheduler::pod::{Pod, Shapes};
use coracle_scheduler::profile::Profile;
use coracle_scheduler::snapshot::Snapshot;
use serde_json::json;

const PODS: usize = 10_000;

fn main() {
    for (profile, nodes) in [("bin-pack", 1000), ("spread", 1000), ("balanced", 1000), ("bin-pack", 5000)] {
        let pods = pods();
        let mut snapshot = cluster(nodes);
        let mut classes = Classes::new(Profile::named(profile).expect("built in"), 0);
        let begun = Instant::now();
        for pod in &pods {
            let slot = classes.choose(pod, &snapshot).expect("there is room for all");
            let name = snapshot.nodes()[slot].name.clone();
            black_box(snapshot.place(Arc::new(Pod { node: Some(name.clone()), ..pod.clone() }), &name));
        }
        let rate = PODS as f64 / begun.elapsed().as_secs_f64();
        println!("{profile:<10} {nodes:>6} nodes {PODS:>7} pods {rate:>12.0} pods/s");
    }
}

fn cluster(nodes: usize) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for i in 0..nodes {
        let node = serde_json::from_value(json!({
            "metadata": { "labels": { "kubernetes.io/hostname": format!("n{i}") } },
            "status": { "allocatable": { "cpu": "8", "memory": "32Gi", "pods": "110" } },
        }));
        snapshot.set_node(&format!("n{i}"), NodeFacts::read(&node.expect("a node")));
    }
    snapshot
}

fn pods() -> Vec<Pod> {
    let mut shapes = Shapes::default();
    let pod = |i: usize| {
        serde_json::from_value(json!({
            "metadata": { "name": format!("p{i}"), "namespace": "d", "uid": i.to_string() },
            "spec": { "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "250m", "memory": "256Mi" } } }] },
        }))
        .expect("a pod")
    };
    (0..PODS).map(|i| shapes.read(&pod(i)).pod).collect()
}
