//! Every manifest of `examples/` does what its comment says, with our own verbs and with kubectl.

mod common;

use std::process::Output;
use std::time::Duration;

use common::{TestCluster, docker, eventually, kubectl, text};
use serde_json::Value;

/// `coracle` against the cluster; must succeed, and returns what it printed.
fn run(cluster: &TestCluster, arguments: &[&str]) -> String {
    let out = cluster.coracle(arguments);
    assert!(out.status.success(), "coracle {}: {}", arguments.join(" "), text(&out));
    text(&out)
}

fn object(cluster: &TestCluster, what: &str) -> Value {
    let out = cluster.coracle(&["get", what, "-o", "json"]);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("coracle get {what}: {}", text(&out)))
}

/// Waits for a condition of some pods.
fn wait(cluster: &TestCluster, pods: &[&str], condition: &str, timeout: &str) {
    let state = format!("condition={condition}");
    run(cluster, &[&["wait"], pods, &["--for", &state, "--timeout", timeout]].concat());
}

fn fails_with(out: Output, words: &str) {
    let told = text(&out);
    assert!(!out.status.success() && told.contains(words), "expected {words:?}: {told}");
}

#[test]
fn the_examples_do_what_they_say() {
    if docker().is_none() {
        return;
    }
    let cluster = TestCluster::up(&[]);
    let run = |arguments: &[&str]| run(&cluster, arguments);
    let wait = |pods: &[&str], condition: &str, timeout: &str| wait(&cluster, pods, condition, timeout);

    // First, while the nodes are empty: the puzzle has one solution.
    run(&["apply", "-f", "examples/bin-packing.yaml"]);
    let packed = ["pod/small-1", "pod/small-2", "pod/small-3", "pod/large-1", "pod/large-2"];
    wait(&packed, "PodScheduled", "10s");
    let node = |pod: &str| object(&cluster, pod)["spec"]["nodeName"].as_str().map(String::from);
    assert_eq!(node("pod/small-1"), node("pod/small-2"));
    assert_eq!(node("pod/small-1"), node("pod/small-3"));
    assert_ne!(node("pod/large-1"), node("pod/large-2"));
    let why = eventually("a verdict on large-3", Duration::from_secs(10), || {
        let told = text(&cluster.coracle(&["why", "pod/large-3"]));
        if told.contains("has no node") { Ok(told) } else { Err(told) }
    });
    for node in ["node-1", "node-2", "node-3"] {
        let line = why.lines().find(|line| line.starts_with(node)).unwrap_or_default();
        assert!(line.contains("needs 1500m cpu"), "{why}");
    }
    wait(&["pod/large-1"], "Ready", "30s");
    run(&["delete", "pod/large-1"]);
    wait(&["pod/large-3"], "PodScheduled", "2s");
    run(&["delete", "pods", "-l", "puzzle=bin-packing", "--grace-period", "1"]);

    run(&["apply", "-f", "examples/pod.yaml", "-f", "examples/multi-container.yaml"]);
    wait(&["pod/hello", "pod/trio"], "Ready", "30s");
    assert_eq!(run(&["logs", "hello"]), "version v1 listens on port 3000\n");
    assert!(run(&["logs", "trio", "-c", "prepare"]).contains("coracle "));
    assert!(run(&["logs", "trio", "-c", "sidecar", "--timestamps", "--tail", "1"]).starts_with("20"));
    fails_with(cluster.coracle(&["logs", "hello", "--previous"]), "previous terminated container");
    assert!(run(&["describe", "pod/trio"]).contains("sidecar"));

    run(&["apply", "-f", "examples/probes.yaml"]);
    wait(&["pod/slow", "pod/execs", "pod/tcp", "pod/web"], "Ready", "45s");
    let slow = object(&cluster, "pod/slow");
    assert_eq!(
        slow["status"]["containerStatuses"][0]["restartCount"], 0,
        "the startup probe held liveness back"
    );
    run(&["delete", "-f", "examples/probes.yaml", "--grace-period", "1"]);

    // The taint that the comment asks for is kubectl's; a patch is the same.
    let taint = r#"{"spec":{"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"}]}}"#;
    if let Some(kubectl) = kubectl() {
        cluster.kubectl(&kubectl, &["patch", "node", "node-1", "-p", taint]);
        run(&["apply", "-f", "examples/taints.yaml"]);
        wait(&["pod/plain", "pod/special"], "PodScheduled", "10s");
        assert_ne!(node("pod/plain").as_deref(), Some("node-1"));
        assert_eq!(node("pod/special").as_deref(), Some("node-1"));
        run(&["delete", "-f", "examples/taints.yaml", "--grace-period", "1"]);
    }

    // A version that cannot become ready, seen and undone with our own verbs.
    run(&["apply", "-f", "examples/deployment.yaml"]);
    run(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
    run(&["apply", "-f", "examples/bad-rollout.yaml"]);
    let stalled = cluster.coracle(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
    fails_with(stalled, "exceeded its progress deadline");
    assert_eq!(object(&cluster, "deployment/web")["status"]["availableReplicas"], 3);
    assert!(run(&["rollout", "history", "deployment/web"]).contains("coracle.dev/demo:broken"));
    run(&["rollout", "undo", "deployment/web"]);
    run(&["rollout", "status", "deployment/web", "--timeout", "60s"]);
    let image = &object(&cluster, "deployment/web")["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "coracle.dev/demo:v1");
    assert!(run(&["logs", "deployment/web"]).contains("version v1 listens"));
    run(&["scale", "deployment/web", "--replicas", "1"]);
    run(&["delete", "deployment/web", "pod/hello", "pod/trio", "--grace-period", "1"]);
    eventually("no container is left", Duration::from_secs(20), || {
        let left = cluster.containers();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// The whole folder at once, by kubectl's strict validation, without a warning; on simulated nodes that a file describes.
#[test]
fn kubectl_applies_the_folder() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = TestCluster::up(&["--runtime", "sim", "--config", "examples/clusters/mixed.yaml"]);
    let out = cluster.try_kubectl(&kubectl, &["apply", "--validate=strict", "-f", "examples"]);
    assert!(out.status.success() && out.stderr.is_empty(), "{}", text(&out));
    let again = cluster.kubectl(&kubectl, &["apply", "-f", "examples/deployment.yaml"]);
    assert_eq!(again, "deployment.apps/web unchanged\n");
    let nodes = cluster.kubectl(&kubectl, &["get", "nodes", "-L", "disk,topology.kubernetes.io/zone"]);
    for (node, rest) in [("small", "a"), ("medium", "ssd    a"), ("large", "ssd    b")] {
        let line = nodes.lines().find(|line| line.starts_with(node)).unwrap_or_default();
        assert!(line.trim_end().ends_with(rest), "{nodes}");
    }
    cluster.kubectl(&kubectl, &["wait", "pod/hello", "--for=condition=Ready", "--timeout=20s"]);
}
