//! Every kubectl that is here does the daily work against a simulated cluster.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{TestCluster, eventually, kubectls, need, text};

#[test]
fn every_kubectl_from_1_29_does_the_daily_work() {
    let found: Vec<_> = kubectls().into_iter().filter(|(minor, _)| *minor >= 29).collect();
    let Some(found) = need("kubectl", (!found.is_empty()).then_some(found)) else { return };
    let cluster = TestCluster::up(&["--runtime", "sim", "--nodes", "2"]);
    for (minor, kubectl) in found {
        let name = format!("web-{minor}");
        let target = format!("deployment/{name}");
        let run = |arguments: &[&str]| cluster.kubectl(&kubectl, arguments);
        // Protobuf bodies from 1.32 on.
        run(&["create", "deployment", &name, "--image=coracle.dev/demo:v1", "--replicas=2"]);
        run(&["rollout", "status", &target, "--timeout=30s"]);
        assert!(run(&["get", "deployment", &name]).contains("2/2"), "kubectl 1.{minor}");
        run(&["set", "image", &target, "demo=coracle.dev/demo:v2"]);
        run(&["rollout", "status", &target, "--timeout=30s"]);
        assert!(run(&["rollout", "history", &target]).contains('2'), "kubectl 1.{minor}");
        run(&["rollout", "undo", &target]);
        run(&["rollout", "restart", &target]);
        run(&["rollout", "pause", &target]);
        run(&["rollout", "resume", &target]);
        run(&["rollout", "status", &target, "--timeout=30s"]);
        run(&["scale", &target, "--replicas=3"]);
        run(&["wait", &target, "--for=condition=Available", "--timeout=30s"]);
        run(&["label", "deployment", &name, "tier=front"]);
        run(&["annotate", "deployment", &name, "note=hello"]);
        assert!(run(&["get", "deployments", "-l", "tier=front", "-o", "name"]).contains(&name));
        assert!(run(&["describe", "deployment", &name]).contains("NewReplicaSet:"), "kubectl 1.{minor}");
        assert!(run(&["explain", "deployment.spec.replicas"]).contains("replicas"), "kubectl 1.{minor}");
        reads_in_every_form(&cluster, &kubectl, &name);
        edits(&cluster, &kubectl, &target);
        run(&["create", "configmap", &name, "--from-literal=a=b"]);
        run(&["create", "secret", "generic", &name, "--from-literal=a=b"]);
        run(&["cordon", "node-1"]);
        run(&["uncordon", "node-1"]);
        run(&["taint", "node", "node-1", "k=v:NoSchedule"]);
        run(&["taint", "node", "node-1", "k-"]);
        run(&["events"]);
        run(&["delete", "deployment,configmap,secret", &name]);
        eventually("its pods are gone", Duration::from_secs(30), || {
            let out =
                cluster.try_kubectl(&kubectl, &["get", "pods", "-l", &format!("app={name}"), "-o", "name"]);
            if out.stdout.is_empty() { Ok(()) } else { Err(text(&out)) }
        });
    }
}

/// Every printer, of a Deployment with three replicas; and what `describe` says of what it leads to.
fn reads_in_every_form(cluster: &TestCluster, kubectl: &Path, name: &str) {
    let forms = [
        ("wide", "SELECTOR"),
        ("yaml", "apiVersion: apps/v1"),
        ("json", "\"kind\": \"Deployment\""),
        ("jsonpath={.spec.replicas}", "3"),
        ("custom-columns=WHO:.metadata.name,COUNT:.spec.replicas", "COUNT"),
        ("go-template={{.spec.replicas}}", "3"),
        ("name", "deployment.apps/"),
    ];
    for (form, words) in forms {
        let out = cluster.kubectl(kubectl, &["get", "deployment", name, "-o", form]);
        assert!(out.contains(words), "{} -o {form}: {out}", kubectl.display());
    }
    let selector = format!("app={name}");
    for (arguments, words) in [
        (&["get", "pods", "-l", &selector, "-o", "wide"][..], "NOMINATED NODE"),
        (&["describe", "pods", "-l", &selector], "PodScheduled"),
        (&["describe", "node", "node-1"], "Allocated resources:"),
        (&["events", "--for", &format!("deployment/{name}")], "ScalingReplicaSet"),
        (&["explain", "pod.spec.containers", "--recursive"], "livenessProbe"),
        (&["drain", "node-1", "--dry-run=server"], "drained"),
    ] {
        let out = cluster.kubectl(kubectl, arguments);
        assert!(out.contains(words), "{} {}: {out}", kubectl.display(), arguments.join(" "));
    }
}

/// `kubectl edit`, the editor being a command.
fn edits(cluster: &TestCluster, kubectl: &Path, target: &str) {
    let mut edit = cluster.kubectl_command(kubectl, &["edit", target]);
    let out = edit.env("KUBE_EDITOR", "sed -i s/hello/edited/").output().expect("kubectl runs");
    assert!(out.status.success(), "{}", text(&out));
    let note = cluster.kubectl(kubectl, &["get", target, "-o", "jsonpath={.metadata.annotations.note}"]);
    assert_eq!(note, "edited");
}
