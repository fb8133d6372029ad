//! What must work for somebody who may use Docker and nothing else. `.ci/run` runs it as such a user, too.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{TestCluster, docker, eventually, need, text};
use serde_json::{Value, json};

/// A static busybox under its usual names.
const IMAGE: &str = "coracle-test/unprivileged:1";

/// [`IMAGE`], made where it is not there.
fn image() -> Option<()> {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = need("busybox", busybox)?;
    let script = "set -e; d=$(mktemp -d); trap 'rm -rf $d' EXIT; chmod 755 $d; mkdir $d/bin $d/tmp; cp $0 $d/bin/busybox
        for name in sh sleep cat dd mkdir; do ln -s busybox $d/bin/$name; done
        tar -C $d --owner 0 --group 0 -c . | docker import -c 'ENV PATH=/bin' - $1";
    let made = Command::new("sh").args(["-c", script, busybox, IMAGE]).output().expect("sh runs");
    assert!(made.status.success(), "{}", text(&made));
    Some(())
}

fn pod(name: &str, script: &str, more: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    let mut spec = json!({"terminationGracePeriodSeconds": 0});
    for (key, value) in more.as_object().into_iter().flatten() {
        let of_pod = ["volumes", "securityContext"].contains(&key.as_str());
        let target = if of_pod { &mut spec } else { &mut container };
        target[key] = value.clone();
    }
    spec["containers"] = json!([container]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn apply(cluster: &TestCluster, object: &Value) {
    let file = cluster.home.path().join("object.json");
    fs::write(&file, object.to_string()).expect("written");
    let out = cluster.coracle(&["apply", "-f", file.to_str().expect("a path")]);
    assert!(out.status.success(), "{}", text(&out));
}

fn status(cluster: &TestCluster, name: &str) -> Value {
    let out = cluster.coracle(&["get", "pod", name, "-o", "json"]);
    let pod: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    pod["status"].clone()
}

/// Waits until a pod's status shows something.
fn until(cluster: &TestCluster, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{name} is {what}"), Duration::from_secs(60), || {
        let status = status(cluster, name);
        if holds(&status) { Ok(status) } else { Err(format!("{status:#}")) }
    })
}

fn ready(status: &Value) -> bool {
    status["containerStatuses"][0]["ready"] == true
}

#[test]
fn groups_limits_probes_and_a_clean_end() {
    let (Some(()), Some(())) = (docker(), image()) else { return };
    let cluster = TestCluster::up(&["--nodes", "1"]);

    // A group that the user who runs the agent is not in.
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"key": "value"}});
    apply(&cluster, &map);
    let script = "cat /m/key && echo x > /d/file && sleep 3600";
    apply(
        &cluster,
        &pod(
            "grouped",
            script,
            json!({
                "securityContext": {"runAsUser": 12345, "fsGroup": 23456},
                "volumeMounts": [{"name": "m", "mountPath": "/m"}, {"name": "d", "mountPath": "/d"}],
                "volumes": [{"name": "m", "configMap": {"name": "m", "defaultMode": 0o400}}, {"name": "d", "emptyDir": {}}],
                "readinessProbe": {"exec": {"command": ["cat", "/d/file"]}, "periodSeconds": 1},
            }),
        ),
    );
    // Files that only root can read and remove.
    let script = "mkdir -m 700 /d/private; dd if=/dev/zero of=/d/private/file bs=1024 count=4096; sleep 3600";
    let volumes = |source: Value| json!({"volumeMounts": [{"name": "d", "mountPath": "/d"}], "volumes": [{"name": "d", "emptyDir": source}]});
    apply(&cluster, &pod("large", script, volumes(json!({"sizeLimit": "1Mi"}))));
    apply(&cluster, &pod("left", script, volumes(json!({}))));
    let probe = json!({"exec": {"command": ["sleep", "3601"]}, "periodSeconds": 1, "timeoutSeconds": 1,
        "failureThreshold": 1000});
    apply(&cluster, &pod("probed", "sleep 3600", json!({"livenessProbe": probe})));

    until(&cluster, "grouped", "ready", ready);
    let evicted = until(&cluster, "large", "evicted", |status| status["phase"] == "Failed");
    assert_eq!(
        evicted["message"], "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\". ",
        "{evicted:#}"
    );
    until(&cluster, "left", "ready", ready);

    let probed = until(&cluster, "probed", "ready", ready);
    let id = probed["containerStatuses"][0]["containerID"].as_str().expect("an id").to_owned();
    let mut seen = BTreeSet::new();
    eventually("four probes have timed out", Duration::from_secs(90), || {
        let out = Command::new("docker").args(["top", id.trim_start_matches("docker://")]).output();
        let out = text(&out.expect("docker runs"));
        let probes: Vec<&str> = out.lines().filter(|line| line.contains("sleep 3601")).collect();
        assert!(probes.len() <= 2, "probes that timed out go on:\n{out}");
        seen.extend(probes.iter().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned));
        if seen.len() >= 4 { Ok(()) } else { Err(out) }
    });

    let memory = fs::read_link(cluster.dir().join("nodes/node-1/memory")).ok();
    let down = cluster.coracle(&["down", "--purge"]);
    assert!(down.status.success(), "{}", text(&down));
    assert!(!cluster.dir().exists() && memory.is_none_or(|memory| !memory.exists()), "files are left");
    // It is down: there is nothing left to be taken down but the home of clusters.
    let home = cluster.home.path().to_owned();
    std::mem::forget(cluster);
    fs::remove_dir_all(home).expect("removed");
}
