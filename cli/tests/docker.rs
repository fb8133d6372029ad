//! The whole, with real containers and a real kubectl: what the README promises.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestCluster, docker, eventually, kubectl, text};
use serde_json::Value;

const NAMESPACE: [&str; 2] = ["-n", "production"];

fn json(cluster: &TestCluster, kubectl: &Path, arguments: &[&str]) -> Value {
    let out = cluster.kubectl(kubectl, &[&NAMESPACE, arguments, &["-o", "json"]].concat());
    serde_json::from_str(&out).expect("kubectl prints JSON")
}

fn in_namespace<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&NAMESPACE, arguments].concat()
}

fn ready_pods(cluster: &TestCluster, kubectl: &Path) -> usize {
    json(cluster, kubectl, &["get", "deployment", "backend-api"])["status"]["readyReplicas"]
        .as_u64()
        .unwrap_or(0) as usize
}

/// From manifest to containers and back, as a user of kubectl does it.
#[test]
fn a_production_service_is_deployed_updated_rolled_back_scaled_and_removed() {
    let (Some(()), Some(kubectl)) = (docker(), kubectl()) else { return };
    let cluster = TestCluster::up(&["--nodes", "3"]);
    let run = |arguments: &[&str]| cluster.kubectl(&kubectl, arguments);
    run(&["apply", "-f", "examples/production-api.yaml"]);
    run(&in_namespace(&["rollout", "status", "deployment/backend-api", "--timeout=60s"]));
    assert_eq!(ready_pods(&cluster, &kubectl), 3);

    // The update: availability, as the watch shows it, never falls under what maxUnavailable 0 allows.
    let watch = Command::new(&kubectl)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["-n", "production", "get", "deployment", "backend-api", "-w"])
        .args(["-o", "jsonpath={.status.availableReplicas}{\"\\n\"}"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    run(&in_namespace(&["set", "image", "deployment/backend-api", "api=coracle.dev/demo:v2"]));
    run(&in_namespace(&["rollout", "status", "deployment/backend-api", "--timeout=90s"]));
    let mut watch = watch;
    watch.kill().expect("killed");
    let seen = String::from_utf8(watch.wait_with_output().expect("its output").stdout).expect("text");
    let availability: Vec<u32> = seen.lines().map(|line| line.trim().parse().unwrap_or(0)).collect();
    assert!(
        availability.len() > 2 && availability.iter().all(|count| *count >= 3),
        "available: {availability:?}"
    );

    // A version that never becomes ready stalls, and goes back.
    let deadline = r#"{"spec":{"progressDeadlineSeconds":5}}"#;
    run(&in_namespace(&["patch", "deployment", "backend-api", "-p", deadline]));
    run(&in_namespace(&["set", "image", "deployment/backend-api", "api=coracle.dev/demo:broken"]));
    let out = cluster.try_kubectl(
        &kubectl,
        &in_namespace(&["rollout", "status", "deployment/backend-api", "--timeout=60s"]),
    );
    assert!(text(&out).contains("exceeded its progress deadline"), "{}", text(&out));
    assert_eq!(ready_pods(&cluster, &kubectl), 3, "the old version goes on");
    run(&in_namespace(&["rollout", "undo", "deployment/backend-api"]));
    run(&in_namespace(&["rollout", "status", "deployment/backend-api", "--timeout=60s"]));
    let image = json(&cluster, &kubectl, &["get", "deployment", "backend-api"]);
    assert_eq!(image["spec"]["template"]["spec"]["containers"][0]["image"], "coracle.dev/demo:v2");

    for count in ["10", "3"] {
        run(&in_namespace(&["scale", "deployment", "backend-api", "--replicas", count]));
        run(&in_namespace(&["rollout", "status", "deployment/backend-api", "--timeout=90s"]));
        assert_eq!(ready_pods(&cluster, &kubectl).to_string(), count);
    }
    run(&["delete", "-f", "examples/production-api.yaml", "--timeout=90s"]);
    eventually("no container is left", Duration::from_secs(20), || {
        let left = cluster.containers();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// Losing a container, the control plane, a node; and room that appears.
#[test]
fn what_breaks_heals() {
    let (Some(()), Some(kubectl)) = (docker(), kubectl()) else { return };
    let cluster = TestCluster::up(&["--nodes", "2"]);
    let run = |arguments: &[&str]| cluster.kubectl(&kubectl, arguments);
    run(&["apply", "-f", "examples/deployment.yaml"]);
    run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let pods = || -> Vec<Value> {
        let out = run(&["get", "pods", "-l", "app=web", "-o", "json"]);
        let list: Value = serde_json::from_str(&out).expect("JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };

    // The whole control plane dies under ten pods; everything is as it was.
    let statuses = |pod: &Value| pod["status"]["containerStatuses"].clone();
    run(&["scale", "deployment", "web", "--replicas=10"]);
    run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let state = || -> Vec<_> { pods().iter().map(|pod| (pod["metadata"].clone(), statuses(pod))).collect() };
    let before = state();
    assert!(before.iter().all(|(_, statuses)| statuses[0]["restartCount"] == 0), "{before:?}");
    let pid = cluster.pid().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    let killed = Instant::now();
    cluster.up_again(&[]);
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(3), "up took {took:?}");
    assert_eq!(state(), before, "the same objects, revisions and containers, none restarted");
    run(&["scale", "deployment", "web", "--replicas=3"]);
    eventually("three are left", Duration::from_secs(30), || match pods().len() {
        3 => Ok(()),
        count => Err(count.to_string()),
    });

    // A container dies.
    let victim = pods().remove(0);
    let id = statuses(&victim)[0]["containerID"].as_str().unwrap_or_default().to_owned();
    let container = id.trim_start_matches("docker://");
    assert!(Command::new("docker").args(["kill", container]).output().expect("docker runs").status.success());
    eventually("it is Ready again, restarted once", Duration::from_secs(3), || {
        let now = pods().into_iter().find(|pod| pod["metadata"]["uid"] == victim["metadata"]["uid"]);
        let now = now.ok_or("the pod is gone")?;
        let restarts = &now["status"]["containerStatuses"][0]["restartCount"];
        if ready(&now) && *restarts == 1 { Ok(()) } else { Err(format!("restarts {restarts}")) }
    });

    // A pod too large for every node waits, with a reason for each; it runs when room appears.
    let giant = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"giant"},"spec":{"containers":[{"name":"c",
        "image":"coracle.dev/demo:v1","resources":{"requests":{"cpu":"3"}}}]}}"#;
    let manifest = cluster.home.path().join("giant.json");
    std::fs::write(&manifest, giant).expect("written");
    run(&["apply", "-f", manifest.to_str().expect("a path")]);
    let why = eventually("a verdict", Duration::from_secs(10), || {
        let out = text(&cluster.coracle(&["why", "pod/giant"]));
        if out.contains("node-1") && out.contains("node-2") { Ok(out) } else { Err(out) }
    });
    assert!(why.contains("cpu"), "{why}");
    let out = cluster.coracle(&["node", "add", "node-3", "--size", "4cpu,4Gi"]);
    assert!(out.status.success(), "{}", text(&out));
    run(&["wait", "pod/giant", "--for=condition=PodScheduled", "--timeout=5s"]);
    run(&["delete", "pod", "giant", "--wait=false"]);

    // A node loses power; its pods run elsewhere.
    let dead = pods()[0]["spec"]["nodeName"].as_str().expect("bound").to_owned();
    let out = cluster.coracle(&["node", "kill", &dead]);
    assert!(out.status.success(), "{}", text(&out));
    eventually("three ready pods elsewhere", Duration::from_secs(30), || {
        let all = pods();
        let well = all.iter().filter(|p| ready(p) && p["spec"]["nodeName"] != dead.as_str()).count();
        if well == 3 { Ok(()) } else { Err(format!("{well} of {}", all.len())) }
    });
}

/// Two people, or two folders, and one name: the second is told, and touches nothing of the first's.
#[test]
fn a_cluster_of_the_same_name_elsewhere_is_left_alone() {
    if docker().is_none() {
        return;
    }
    let first = TestCluster::up(&["--nodes", "1"]);
    let applied = first.coracle(&["apply", "-f", "examples/pod.yaml"]);
    assert!(applied.status.success(), "{}", text(&applied));
    let ready = first.coracle(&["wait", "pod/hello", "--for", "condition=Ready"]);
    assert!(ready.status.success(), "{}", text(&ready));
    let before = first.containers();
    assert!(!before.is_empty());

    let home = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.env("CORACLE_HOME", home.path()).args(["--name", &first.name]).args(arguments);
        command.output().expect("coracle runs")
    };
    let up = elsewhere(&["up", "--no-context"]);
    assert!(!up.status.success() && text(&up).contains("say another --name"), "{}", text(&up));
    let down = elsewhere(&["down", "--purge"]);
    assert!(down.status.success() && text(&down).contains("nothing was made"), "{}", text(&down));
    assert_eq!(first.containers(), before);
}

/// The tour is what a newcomer sees first.
#[test]
fn the_tour_ends_well_and_leaves_nothing() {
    if docker().is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    // A name of its own: a cluster of the same name that an earlier run left would fight over the containers.
    let name = format!("tour-{}", std::process::id());
    let out = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .env("CORACLE_HOME", home.path())
        .env("KUBECONFIG", home.path().join("user-kubeconfig"))
        .args(["demo", "--name", &name])
        .output()
        .expect("coracle runs");
    let told = text(&out);
    assert!(out.status.success(), "{told}");
    assert!(told.contains(" 0 failed"), "{told}");
    let left = Command::new("docker")
        .args(["ps", "-aq", "--filter", &format!("label=coracle.dev/cluster={name}")])
        .output()
        .expect("docker runs");
    assert!(left.stdout.is_empty(), "left: {}", text(&left));
    assert!(!home.path().join(&name).exists());
}
