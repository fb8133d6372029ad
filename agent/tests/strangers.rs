//! Somebody else touches containers on a real engine. The whole of it is played on simulated ones (`keeps/`); this shows
//! that Docker tells what the agent needs for it.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions,
    RemoveImageOptions, RestartContainerOptions, StartContainerOptions,
};
use coracle_agent::runtime::Runtime;
use coracle_client::Op;
use serde_json::{Value, json};

mod common;
use common::IMAGE;
use common::bench::{Bench, pod, sleeper};

fn ready(status: &Value) -> bool {
    status["containerStatuses"][0]["ready"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_docker_restarts_is_one_and_told_truly() {
    let Some(bench) = Bench::new("restart").await else { return };
    let shell = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", "trap 'exit 7' TERM; sleep 3600 & wait"]});
    let key =
        bench.create(pod("x", json!({"containers": [shell], "terminationGracePeriodSeconds": 0}))).await;
    bench.until(&key, "ready", ready).await;
    let before = bench.containers().await["x/c.0"].id.clone();
    let docker = Docker::connect_with_defaults().unwrap();
    // The shell needs a moment to set its trap; the first restart may find it deaf.
    for restarts in 1..=2 {
        let options = RestartContainerOptions { t: Some(1), ..Default::default() };
        docker.restart_container(&before, Some(options)).await.unwrap();
        let again =
            |status: &Value| status["containerStatuses"][0]["restartCount"] == restarts && ready(status);
        let status = bench.until(&key, "restarted", again).await["containerStatuses"][0].clone();
        let last = &status["lastState"]["terminated"];
        assert!(last["exitCode"] == 7 || last["exitCode"] == 137, "{status:#}");
        assert_ne!(last["reason"], "ContainerStatusUnknown", "{status:#}");
        assert!(last["startedAt"].as_str() <= last["finishedAt"].as_str(), "{status:#}");
        assert!(last["startedAt"].as_str() > Some("2000"), "{status:#}");
        // Longer than the agent waits before it makes another one.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let containers = bench.containers().await;
        assert_eq!(containers.keys().collect::<Vec<_>>(), ["x/POD.0", "x/c.0"]);
        assert_eq!(containers["x/c.0"].id, before);
        assert!(again(&bench.until(&key, "the same", |_| true).await), "counted once");
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_restarts_fails_when_docker_removes_its_container() {
    let Some(bench) = Bench::new("rm").await else { return };
    let spec =
        json!({"restartPolicy": "Never", "containers": [sleeper("c")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec)).await;
    bench.until(&key, "ready", ready).await;
    bench.runtime.remove(&bench.containers().await["x/c.0"].id).await.unwrap();
    let status = bench.until(&key, "failed", |status| status["phase"] == "Failed").await;
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    let shown = (&ended["exitCode"], &ended["reason"]);
    assert_eq!(shown, (&json!(137), &json!("ContainerStatusUnknown")), "{status:#}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!bench.containers().await.keys().any(|name| name.starts_with("x/c")), "nothing is made anew");
    bench.finish().await;
}

/// An image of a pod's container hands its labels on. What somebody runs of it takes nobody's place, and stays theirs.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_runs_of_a_committed_container_is_theirs() {
    let Some(bench) = Bench::new("commit").await else { return };
    let spec = json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec.clone())).await;
    bench.until(&key, "ready", ready).await;
    let own = bench.containers().await["x/c.0"].id.clone();
    let docker = Docker::connect_with_defaults().unwrap();
    let options = CommitContainerOptions { container: Some(own.clone()), pause: true, ..Default::default() };
    let image = docker.commit_container(options, ContainerConfig::default()).await.unwrap().id;
    let body = ContainerCreateBody { image: Some(image.clone()), ..Default::default() };
    let theirs = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    docker.start_container(&theirs, None::<StartContainerOptions>).await.unwrap();
    // A second pod, made after it, shows that the agent has heard of it.
    let other = bench.create(pod("y", spec)).await;
    bench.until(&other, "ready", ready).await;
    let status = bench.until(&key, "still ready", ready).await["containerStatuses"][0].clone();
    let shown = (&status["containerID"], &status["restartCount"]);
    assert_eq!(shown, (&json!(format!("docker://{own}")), &json!(0)), "{status:#}");
    bench.client().write_one(Op::delete_key(key)).await.unwrap();
    bench.finish().await;
    let left = docker.inspect_container(&theirs, None::<InspectContainerOptions>).await;
    let state = left.expect("the cluster's end leaves it").state.unwrap();
    docker
        .remove_container(&theirs, Some(RemoveContainerOptions { force: true, ..Default::default() }))
        .await
        .unwrap();
    docker.remove_image(&image, None::<RemoveImageOptions>, None).await.unwrap();
    assert_eq!(state.running, Some(true), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_container_that_was_pruned_stays_finished() {
    let Some(mut bench) = Bench::new("prune").await else { return };
    let init = json!({"name": "init", "image": IMAGE, "command": ["echo", "done"]});
    let spec =
        json!({"initContainers": [init], "containers": [sleeper("c")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec)).await;
    bench.until(&key, "ready", ready).await;
    bench.runtime.remove(&bench.containers().await["x/init.0"].id).await.unwrap();
    bench.kill_agent().await;
    bench.start_agent();
    // A second pod shows that the new agent is at work.
    let other = bench
        .create(pod("y", json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})))
        .await;
    bench.until(&other, "ready", ready).await;
    let status = bench.until(&key, "still ready", ready).await;
    let init = &status["initContainerStatuses"][0];
    assert_eq!(init["state"]["terminated"]["reason"], "Completed", "{status:#}");
    assert_eq!((&init["ready"], &init["restartCount"]), (&json!(true), &json!(0)), "{status:#}");
    assert!(!bench.containers().await.contains_key("x/init.1"), "not run again");
    bench.finish().await;
}
