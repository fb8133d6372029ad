//! Every filter by what it says, in upstream's words.

mod common;

use common::{Cluster, asks, port};
use serde_json::json;

const NONE: &str = "0/1 nodes are available: ";

#[test]
fn resources() {
    let cases = [
        ("exactly", asks(json!({ "cpu": "2", "memory": "4Gi" })), "a"),
        ("one too many", asks(json!({ "cpu": "2001m" })), "1 Insufficient cpu."),
        (
            "several at once",
            asks(json!({ "cpu": "3", "memory": "5Gi" })),
            "1 Insufficient cpu, 1 Insufficient memory.",
        ),
        ("extended", asks(json!({ "example.com/gpu": "1" })), "1 Insufficient example.com/gpu."),
        ("disk", asks(json!({ "ephemeral-storage": "11Gi" })), "1 Insufficient ephemeral-storage."),
        ("nothing", json!({}), "a"),
    ];
    for (name, pod, expected) in cases {
        let got = Cluster::default().node("a", json!({})).outcome(pod);
        assert_eq!(got.trim_start_matches(NONE), expected, "case: {name}");
    }
}

#[test]
fn room_that_others_have() {
    let mut cluster = Cluster::default();
    cluster.node("a", json!({})).on("a", "one", asks(json!({ "cpu": "1500m" })));
    assert_eq!(cluster.outcome(asks(json!({ "cpu": "600m" }))), format!("{NONE}1 Insufficient cpu."));
    assert_eq!(cluster.outcome(asks(json!({ "cpu": "500m" }))), "a");
    cluster.node("a", json!({ "status": { "allocatable": { "pods": "1" } } }));
    assert_eq!(cluster.outcome(json!({})), format!("{NONE}1 Too many pods."));
    cluster.snapshot.displace("d/one");
    assert_eq!(cluster.outcome(asks(json!({ "cpu": "2" }))), "a");
}

#[test]
fn a_terminating_pod_still_holds_its_room() {
    let mut cluster = Cluster::default();
    let mut going = asks(json!({ "cpu": "2" }));
    going["metadata"] = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
    cluster.node("a", json!({})).on("a", "one", going);
    assert_eq!(cluster.outcome(asks(json!({ "cpu": "1" }))), format!("{NONE}1 Insufficient cpu."));
}

#[test]
fn taints_and_cordons() {
    let taint =
        |effect: &str| json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": effect }] } });
    let tolerate = |t: serde_json::Value| json!({ "spec": { "tolerations": [t] } });
    let cases = [
        ("NoSchedule refuses", taint("NoSchedule"), json!({}), "1 node(s) had untolerated taint(s)."),
        ("NoExecute refuses", taint("NoExecute"), json!({}), "1 node(s) had untolerated taint(s)."),
        ("PreferNoSchedule does not", taint("PreferNoSchedule"), json!({}), "a"),
        ("tolerated", taint("NoSchedule"), tolerate(json!({ "key": "k", "operator": "Exists" })), "a"),
        (
            "another value",
            taint("NoSchedule"),
            tolerate(json!({ "key": "k", "value": "w" })),
            "1 node(s) had untolerated taint(s).",
        ),
        (
            "cordoned",
            json!({ "spec": { "unschedulable": true } }),
            json!({}),
            "1 node(s) were unschedulable.",
        ),
        (
            "cordon tolerated",
            json!({ "spec": { "unschedulable": true } }),
            tolerate(json!({ "key": "node.kubernetes.io/unschedulable", "operator": "Exists" })),
            "a",
        ),
    ];
    for (name, node, pod, expected) in cases {
        let got = Cluster::default().node("a", node).outcome(pod);
        assert_eq!(got.trim_start_matches(NONE), expected, "case: {name}");
    }
}

#[test]
fn selectors_affinity_and_names() {
    let affinity = |term: serde_json::Value| json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } } } });
    let name = |operator: &str, values: &[&str]| json!({ "key": "metadata.name", "operator": operator, "values": values });
    let unsuited = "2 node(s) didn't match Pod's node affinity/selector.";
    let cases = [
        ("selector", json!({ "spec": { "nodeSelector": { "disk": "ssd" } } }), "b"),
        ("selector, other value", json!({ "spec": { "nodeSelector": { "disk": "hdd" } } }), unsuited),
        (
            "expression",
            affinity(json!({ "matchExpressions": [{ "key": "disk", "operator": "Exists" }] })),
            "b",
        ),
        ("by name", affinity(json!({ "matchFields": [name("In", &["b"])] })), "b"),
        ("not by name", affinity(json!({ "matchFields": [name("NotIn", &["b"])] })), "a"),
        (
            "by name, and an expression that fails",
            affinity(
                json!({ "matchFields": [name("In", &["a"])], "matchExpressions": [{ "key": "x", "operator": "Exists" }] }),
            ),
            "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].",
        ),
        (
            "names that exclude each other",
            affinity(json!({ "matchFields": [name("In", &["a"]), name("In", &["b"])] })),
            "pod affinity terms conflict. not found",
        ),
    ];
    for (case, pod, expected) in cases {
        let mut cluster = Cluster::default();
        cluster.node("a", json!({})).node("b", json!({ "metadata": { "labels": { "disk": "ssd" } } }));
        assert_eq!(
            cluster.outcome(pod).trim_start_matches("0/2 nodes are available: "),
            expected,
            "case: {case}"
        );
    }
}

#[test]
fn host_ports() {
    let taken = "1 node(s) didn't have free ports for the requested pod ports.";
    let cases = [
        ("same", port(8080, ""), taken),
        ("another", port(8081, ""), "a"),
        ("one address of all", port(8080, "127.0.0.1"), taken),
    ];
    for (name, pod, expected) in cases {
        let mut cluster = Cluster::default();
        cluster.node("a", json!({})).on("a", "one", port(8080, ""));
        assert_eq!(cluster.outcome(pod).trim_start_matches(NONE), expected, "case: {name}");
    }
}

fn near(kind: &str, app: &str, key: &str) -> serde_json::Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [
            { "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key }
        ] } } },
    })
}

#[test]
fn required_and_forbidden_pods() {
    let zone = |z: &str| json!({ "metadata": { "labels": { "zone": z } } });
    let db = json!({ "metadata": { "labels": { "app": "db" } } });
    let cases = [
        ("near, by zone", near("podAffinity", "db", "zone"), "b"),
        ("far, by zone", near("podAntiAffinity", "db", "zone"), "a"),
        (
            "near to nobody",
            near("podAffinity", "nobody", "zone"),
            "2 node(s) didn't match pod affinity rules.",
        ),
        ("the first of its kind", near("podAffinity", "web", "kubernetes.io/hostname"), "a or b"),
        (
            "the first, without the label",
            near("podAffinity", "web", "rack"),
            "2 node(s) didn't match pod affinity rules.",
        ),
        ("far from nobody", near("podAntiAffinity", "nobody", "zone"), "a or b"),
    ];
    for (name, pod, expected) in cases {
        let mut cluster = Cluster::default();
        cluster.node("a", zone("1")).node("b", zone("2")).on("b", "db", db.clone());
        let got = cluster.outcome(pod);
        let got = got.trim_start_matches("0/2 nodes are available: ");
        let allowed = if expected == "a or b" { vec!["a", "b"] } else { vec![expected] };
        assert!(allowed.contains(&got), "case: {name}: {got:?} is none of {allowed:?}");
    }
}

#[test]
fn whom_a_pod_keeps_away() {
    let mut cluster = Cluster::default();
    cluster.node("a", json!({})).on("a", "loner", near("podAntiAffinity", "web", "kubernetes.io/hostname"));
    let web = json!({ "metadata": { "labels": { "app": "web" } } });
    assert_eq!(
        cluster.outcome(web),
        format!("{NONE}1 node(s) didn't satisfy existing pods anti-affinity rules.")
    );
    assert_eq!(cluster.outcome(json!({})), "a");
    cluster.snapshot.displace("d/loner");
    let pod = cluster.read("q", json!({ "metadata": { "labels": { "app": "web" } } }));
    assert!(!cluster.snapshot.has_rules_about(&pod));
}

#[test]
fn spreading() {
    let zone = |z: &str| json!({ "metadata": { "labels": { "zone": z } } });
    let web = json!({ "metadata": { "labels": { "app": "web" } } });
    let rule = |more: serde_json::Value| {
        let mut rule = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": { "matchLabels": { "app": "web" } } });
        rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "topologySpreadConstraints": [rule] } })
    };
    let skewed = "2 node(s) didn't match pod topology spread constraints";
    let cases = [
        ("to the emptier zone", rule(json!({})), "b".to_string()),
        (
            "a missing label",
            rule(json!({ "topologyKey": "rack" })),
            format!("{skewed} (missing required label)."),
        ),
        ("domains that must be there", rule(json!({ "minDomains": 3, "maxSkew": 1 })), "b".to_string()),
    ];
    for (name, pod, expected) in cases {
        let mut cluster = Cluster::default();
        cluster.node("a", zone("1")).node("b", zone("2")).on("a", "one", web.clone());
        assert_eq!(
            cluster.outcome(pod).trim_start_matches("0/2 nodes are available: "),
            expected,
            "case: {name}"
        );
    }
}

#[test]
fn the_whole_sentence() {
    let mut cluster = Cluster::default();
    let pod = cluster.read("p", asks(json!({ "cpu": "1500m" })));
    assert_eq!(cluster.sentence(&pod, &cluster.decide(&pod)), "no nodes available to schedule pods");
    cluster
        .node("a", json!({ "status": { "allocatable": { "cpu": "1" } } }))
        .node("b", json!({}))
        .node("c", json!({ "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }] } }))
        .on("b", "one", asks(json!({ "cpu": "1" })));
    assert_eq!(
        cluster.sentence(&pod, &cluster.decide(&pod)),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, \
         preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not \
         helpful for scheduling."
    );
    for n in 0..9 {
        cluster.node(&format!("n{n}"), json!({ "status": { "allocatable": { "cpu": "1" } } }));
    }
    let sentence = cluster.sentence(&pod, &cluster.decide(&pod));
    assert!(
        sentence.starts_with(
            "0/12 nodes are available: 1 node(s) had untolerated taint(s), 11 Insufficient cpu."
        ),
        "{sentence}"
    );
}
