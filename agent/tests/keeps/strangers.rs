//! Somebody else removes, stops, restarts or renames containers behind the agent's back.

use std::time::Duration;

use coracle_agent::labels::{Identity, Owner};
use coracle_agent::runtime::Runtime as _;
use serde_json::{Value, json};

use crate::faulty::What;
use crate::node::{Node, seconds, sleeper};

fn with_init() -> Value {
    let done = json!([{"name": "SIM_RUN_MS", "value": "1000"}]);
    json!({
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}, {"name": "init", "image": "i", "env": done}],
        "containers": [{"name": "c", "image": "i"}],
    })
}

fn policy(policy: &str, run_ms: Option<u32>, code: u8) -> Value {
    let mut env = vec![json!({"name": "SIM_EXIT_CODE", "value": code.to_string()})];
    env.extend(run_ms.map(|ms| json!({"name": "SIM_RUN_MS", "value": ms.to_string()})));
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i", "env": env}]})
}

fn starts(node: &Node, name: &str) -> usize {
    let calls = node.runtime.calls();
    calls.iter().filter(|call| call.what == What::Start && call.of.starts_with(name)).count()
}

async fn restart_agent(node: &mut Node) {
    node.kill_agent().await;
    node.start_agent();
    seconds(60).await;
}

#[tokio::test(start_paused = true)]
async fn a_pruned_init_container_stays_finished() {
    let mut node = Node::new();
    let key = node.create("x", with_init()).await;
    node.until_ready(&key).await;
    node.runtime.engine.prune();
    for _ in 0..2 {
        seconds(60).await;
        let status = node.pod(&key).await["status"].clone();
        let init = &status["initContainerStatuses"][1];
        assert_eq!(init["state"]["terminated"]["reason"], "Completed", "{status:#}");
        assert_eq!((&init["ready"], &status["phase"]), (&json!(true), &json!("Running")), "{status:#}");
        assert_eq!((starts(&node, "x/init"), starts(&node, "x/c"), starts(&node, "x/side")), (1, 1, 1));
        restart_agent(&mut node).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_restarts_fails_when_its_container_is_removed() {
    for agent_runs in [true, false] {
        let mut node = Node::new();
        let key = node.create("x", policy("Never", None, 0)).await;
        node.until_ready(&key).await;
        let victim = node.container("x/c.0").await;
        if !agent_runs {
            node.kill_agent().await;
        }
        node.runtime.engine.rm(&victim.id);
        if !agent_runs {
            seconds(5).await;
            node.start_agent();
        }
        let status = node.until(&key, "failed", |status| status["phase"] == "Failed").await;
        let ended = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(
            (&ended["exitCode"], &ended["reason"]),
            (&json!(137), &json!("ContainerStatusUnknown")),
            "{status:#}"
        );
        seconds(300).await;
        assert_eq!(starts(&node, "x/c"), 1, "nothing is made anew");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_place_gives_one_instance_told_truly() {
    for (run, agent_runs) in [("Always", true), ("Always", false), ("Never", true), ("OnFailure", true)] {
        let mut node = Node::new();
        let key = node.create("x", policy(run, None, 0)).await;
        node.until_ready(&key).await;
        seconds(10).await;
        if !agent_runs {
            node.kill_agent().await;
        }
        let victim = node.container("x/c.0").await;
        node.runtime.engine.restart(&victim.id, Duration::from_secs(1)).await.unwrap();
        if !agent_runs {
            node.start_agent();
        }
        let again = |status: &Value| status["containerStatuses"][0]["restartCount"] == 1;
        let status = node.until(&key, "restarted", again).await;
        seconds(120).await;
        let (status, shown) = (&status["containerStatuses"][0], node.containers().await);
        assert_eq!(shown.len(), 2, "the sandbox and one container: {shown:?}");
        assert_eq!((starts(&node, "x/c"), &shown[1].1.id), (1, &victim.id));
        let last = &status["lastState"]["terminated"];
        let code = if agent_runs { 0 } else { 137 };
        assert_eq!(last["exitCode"], code, "policy {run}: {status:#}");
        let second = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        let (from, to) = (second(&last["startedAt"]), second(&last["finishedAt"]));
        assert!((10..13).contains(&(to - from)), "policy {run}: {last:#}");
        assert!(status["state"]["running"]["startedAt"].is_string(), "{status:#}");
        restart_agent(&mut node).await;
        assert!(again(&node.pod(&key).await["status"]), "counted once, policy {run}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_stopped_comes_again() {
    let node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let victim = node.container("x/c.0").await;
    node.runtime.engine.stop(&victim.id, Duration::from_secs(1)).await;
    seconds(30).await;
    let status = node.pod(&key).await["status"]["containerStatuses"][0].clone();
    assert_eq!((&status["restartCount"], &status["ready"]), (&json!(1), &json!(true)), "{status:#}");
    // And if it is started again after that, it goes.
    node.runtime.engine.restart(&victim.id, Duration::ZERO).await.unwrap();
    seconds(60).await;
    let running: Vec<String> = node
        .containers()
        .await
        .into_iter()
        .filter(|(_, one)| one.state.is_running())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(running, ["x/POD.0", "x/c.1"]);
}

#[tokio::test(start_paused = true)]
async fn restarts_are_counted_though_their_containers_are_gone() {
    let mut node = Node::new();
    let key = node.create("x", policy("Always", Some(500), 3)).await;
    let restarts = |status: &Value| status["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
    node.until(&key, "restarted thrice", |status| restarts(status) >= 3).await;
    let mut most = 3;
    for _ in 0..4 {
        node.runtime.engine.prune();
        seconds(30).await;
        restart_agent(&mut node).await;
        let now = restarts(&node.pod(&key).await["status"]);
        assert!(now >= most, "{now} < {most}");
        most = now;
    }
    node.until(&key, "restarted again", |status| restarts(status) > most).await;
    assert!(starts(&node, "x/c") as u64 <= most + 3, "the back-off is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_somebody_took_is_made_anew_and_nothing_twice() {
    for restarted in [false, true] {
        let node = Node::new();
        let done = node
            .create(
                "done",
                json!({"restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 2, "containers": [
            {"name": "once", "image": "i", "env": [{"name": "SIM_RUN_MS", "value": "100"}]},
            {"name": "c", "image": "i", "env": [{"name": "SIM_STOP_MS", "value": "3600000"}]}]}),
            )
            .await;
        let key = node.create("x", with_init()).await;
        node.until_ready(&key).await;
        node.until(&done, "half done", |status| {
            status["containerStatuses"][1]["state"]["terminated"]["exitCode"] == 0
        })
        .await;
        for name in ["x/POD.0", "done/POD.0"] {
            let sandbox = node.container(name).await;
            match restarted {
                // The agent may be quicker and have removed it.
                true => drop(node.runtime.engine.restart(&sandbox.id, Duration::ZERO).await),
                false => node.runtime.engine.rm(&sandbox.id),
            }
        }
        seconds(120).await;
        node.until_ready(&key).await;
        assert_eq!(starts(&node, "done/once"), 1, "it has succeeded, sandbox restarted: {restarted}");
        let running = node.containers().await.into_iter().filter(|(_, one)| one.state.is_running()).count();
        assert_eq!(running, 3 + 2, "sandbox restarted: {restarted}, {:?}", node.containers().await);
    }
}

/// Docker hands a container's labels on by an image of it: what somebody runs of that is theirs.
#[tokio::test(start_paused = true)]
async fn what_somebody_runs_of_a_committed_container_is_theirs() {
    let mut node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let own = node.container("x/c.0").await.id;
    let engine = node.runtime.engine.clone();
    let of_container = engine.run_committed(&own).unwrap();
    let of_sandbox = engine.run_committed(&node.container("x/POD.0").await.id).unwrap();
    for agent in ["goes on", "is another"] {
        seconds(120).await;
        let status = node.until_ready(&key).await;
        let shown = &status["containerStatuses"][0];
        assert_eq!(shown["containerID"], format!("docker://{own}"), "the agent {agent}: {status:#}");
        assert_eq!(
            (&shown["restartCount"], node.containers().await.len()),
            (&json!(0), 2),
            "the agent {agent}"
        );
        restart_agent(&mut node).await;
    }
    node.delete(&key, 0).await;
    node.until_empty().await;
    // Long enough for the agent to look for containers whose pods are gone.
    seconds(120).await;
    let cluster = Owner { cluster: "test".into(), node: None };
    engine.clean_up(&cluster, "").await.unwrap();
    for id in [of_container, of_sandbox] {
        assert!(engine.inspect(&id).await.unwrap().is_some_and(|one| one.state.is_running()), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_container_got_keeps_nothing_from_starting() {
    let node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let one = node.container("x/c.0").await;
    let next = Identity { attempt: 1, ..Identity::read(&one.labels).unwrap() };
    node.runtime.engine.rename(&one.id, &next.container_name("test"));
    node.runtime.engine.crash(&one.id, 1, false);
    let again = |status: &Value| {
        let shown = &status["containerStatuses"][0];
        shown["restartCount"] == 1 && shown["ready"] == true
    };
    node.until(&key, "restarted", again).await;
}

#[tokio::test(start_paused = true)]
async fn paused_and_renamed_containers_are_still_ours() {
    let mut node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let one = node.container("x/c.0").await;
    node.runtime.engine.rename(&one.id, "mine");
    node.runtime.engine.pause(&one.id);
    restart_agent(&mut node).await;
    assert_eq!(node.containers().await.len(), 2);
    assert!(node.runtime.engine.inspect("mine").await.unwrap().is_some());
    node.delete(&key, 5).await;
    node.until_empty().await;
}
