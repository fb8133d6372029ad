//! How fast the scheduler is from a pod's event to its binding: reading, queue, decision, verdict, and the answer to the write;
//! everything but the network. No framework: a figure and a clock. With `--test` it runs once and small.

use std::hint::black_box;
use std::time::Instant;

use coracle_api::Revision;
use coracle_scheduler::Config;
use coracle_scheduler::brain::Brain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

/// As many as the shell decides on before it writes.
const ROUND: usize = 256;

/// What else is in the cluster.
#[derive(Clone, Copy, Debug)]
enum Others {
    Nobody,
    /// One placed pod with required anti-affinity to pods like itself.
    Loner,
    /// So many pods that no node takes.
    Waiting(usize),
}

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let size = |full: usize| if smoke { full / 100 } else { full };
    let cases = [
        ("bin-pack", 1000, Others::Nobody),
        ("spread", 1000, Others::Nobody),
        ("balanced", 1000, Others::Nobody),
        ("bin-pack", 5000, Others::Nobody),
        ("bin-pack", 1000, Others::Loner),
        ("bin-pack", 1000, Others::Waiting(size(5000))),
    ];
    for (profile, nodes, others) in cases {
        let (nodes, pods) = (size(nodes), size(10_000));
        let mut brain = cluster(profile, nodes, others);
        let objects: Vec<Pod> = (0..pods).map(|i| pod(&format!("p{i}"), "250m", json!({}))).collect();
        let begun = Instant::now();
        let bound = place(&mut brain, &objects);
        let rate = pods as f64 / begun.elapsed().as_secs_f64();
        assert_eq!(bound, pods, "there is room for all");
        let others = format!("{others:?}");
        println!("{profile:<10} {nodes:>6} nodes {pods:>7} pods {others:<14} {rate:>10.0} pods/s");
    }
}

/// Takes in the pods, decides in rounds, and answers every binding with success.
fn place(brain: &mut Brain, pods: &[Pod]) -> usize {
    let now = Timestamp::UNIX_EPOCH;
    for pod in pods {
        brain.pod(pod, Revision(2), now);
    }
    let mut bound = 0;
    loop {
        let turns = brain.round(ROUND, now);
        if turns.is_empty() {
            return bound;
        }
        for turn in turns.iter().filter(|turn| turn.outcome.is_ok()) {
            black_box(serde_json::to_value(&turn.verdict).expect("JSON"));
            brain.bound(&turn.key, &turn.pod.uid);
            bound += 1;
        }
    }
}

fn cluster(profile: &str, nodes: usize, others: Others) -> Brain {
    let now = Timestamp::UNIX_EPOCH;
    let config = Config { profile: profile.into(), ..Config::default() };
    let mut brain = Brain::new(&config).expect("a built-in profile");
    for i in 0..nodes {
        let name = format!("n{i}");
        let node: Node = serde_json::from_value(json!({
            "metadata": { "labels": { "kubernetes.io/hostname": name } },
            "status": { "allocatable": { "cpu": "8", "memory": "32Gi", "pods": "110" } },
        }))
        .expect("a node");
        brain.node(&name, Some(&node), Revision(1), now);
    }
    match others {
        Others::Nobody => {}
        Others::Loner => {
            let rule = json!([{ "labelSelector": { "matchLabels": { "app": "loner" } }, "topologyKey": "kubernetes.io/hostname" }]);
            let affinity =
                json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": rule } });
            let loner = pod("loner", "250m", json!({ "nodeName": "n0", "affinity": affinity }));
            brain.pod(&loner, Revision(1), now);
        }
        Others::Waiting(count) => {
            for i in 0..count {
                brain.pod(&pod(&format!("w{i}"), "9", json!({})), Revision(1), now);
            }
            while !brain.round(ROUND, now).is_empty() {}
        }
    }
    brain
}

fn pod(name: &str, cpu: &str, spec: Value) -> Pod {
    let mut object = json!({
        "metadata": { "name": name, "namespace": "d", "uid": name },
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu, "memory": "256Mi" } } }],
        },
    });
    if let (Some(all), Value::Object(more)) = (object["spec"].as_object_mut(), spec) {
        all.extend(more);
    }
    serde_json::from_value(object).expect("a pod")
}
