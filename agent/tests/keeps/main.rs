//! A node never loses what it runs, whatever happens to the agent, the engine or the watch.

mod faulty;
mod network;
mod node;
mod random;
mod strangers;

use std::time::Duration;

use coracle_client::{Op, Write};
use faulty::{Faults, What};
use node::{Node, seconds, sleeper};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn an_expired_watch_costs_no_container() {
    let node = Node::new();
    let mut keys = Vec::new();
    for name in ["x", "y", "z"] {
        keys.push(node.create(name, sleeper()).await);
    }
    for key in &keys {
        node.until_ready(key).await;
    }
    let before = node.ids().await;
    // The agent hears nothing of the delete but that it has to list again.
    node.cluster.hold_events_back();
    node.delete(&keys[2], 0).await;
    node.cluster.compact();
    node.cluster.let_events_through();
    let late = node.create("late", sleeper()).await;
    node.until_ready(&late).await;
    seconds(120).await;
    let after = node.ids().await;
    let kept = before.iter().filter(|id| after.contains(id)).count();
    // Of z, which the list does not show, both containers are gone.
    assert_eq!((kept, after.len()), (4, 6), "{:?}", node.containers().await);
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_starts_nothing_more() {
    for step in 0..30 {
        let mut node = Node::new();
        for n in 0..10 {
            node.create(&format!("x{n}"), sleeper()).await;
        }
        // At every stage of the starts.
        tokio::time::sleep(Duration::from_millis(20 * step)).await;
        node.kill_agent().await;
        let before = node.runtime.calls();
        let running = |all: &[(String, coracle_agent::runtime::Container)]| {
            all.iter().filter(|(_, one)| one.state.is_running()).count()
        };
        let then = running(&node.containers().await);
        seconds(600).await;
        assert_eq!(node.runtime.calls(), before, "asked of the engine after the kill, step {step}");
        assert_eq!(running(&node.containers().await), then, "step {step}");
        assert!(node.containers().await.iter().all(|(name, _)| !name.is_empty()), "all have their labels");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_stopped_once() {
    let node = Node::new();
    let env = json!([{"name": "SIM_STOP_MS", "value": "3600000"}]);
    let hook = json!({"preStop": {"sleep": {"seconds": 5}}});
    let spec = json!({"terminationGracePeriodSeconds": 100,
        "containers": [{"name": "c", "image": "i", "env": env, "lifecycle": hook}]});
    let key = node.create("x", spec).await;
    node.until_ready(&key).await;
    // An earlier attempt, which every resync looks at again.
    let first = node.containers().await.into_iter().find(|(name, _)| name == "x/c.0").unwrap().1;
    node.runtime.engine.crash(&first.id, 1, false);
    node.until(&key, "restarted", |status| status["containerStatuses"][0]["restartCount"] == 1).await;
    node.until_ready(&key).await;
    node.client().write_one(Write::from(Op::delete_key(key.clone()))).await.unwrap();
    node.until_empty().await;
    let got = node.runtime.signals("x/c");
    let expected =
        [("SIGTERM".to_owned(), "x/c.1".to_owned(), 0), ("SIGKILL".to_owned(), "x/c.1".to_owned(), 95)];
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_moves_the_kill_and_repeats_nothing() {
    let node = Node::new();
    let env = json!([{"name": "SIM_STOP_MS", "value": "3600000"}]);
    let spec = json!({"terminationGracePeriodSeconds": 100, "containers": [{"name": "c", "image": "i", "env": env}]});
    let key = node.create("x", spec).await;
    node.until_ready(&key).await;
    node.delete(&key, 100).await;
    seconds(10).await;
    node.delete(&key, 20).await;
    node.until_empty().await;
    let got = node.runtime.signals("x/c");
    let expected =
        [("SIGTERM".to_owned(), "x/c.0".to_owned(), 0), ("SIGKILL".to_owned(), "x/c.0".to_owned(), 30)];
    assert_eq!(got, expected);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_is_replaced_and_its_containers_are_kept() {
    let node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let before = node.ids().await;
    node.runtime.set(Faults { panics: 3, ..Faults::default() });
    seconds(120).await;
    assert_eq!(node.ids().await, before);
    let victim = node.containers().await.into_iter().find(|(name, _)| name == "x/c.0").unwrap().1;
    node.runtime.engine.crash(&victim.id, 1, false);
    node.until(&key, "restarted", |status| status["containerStatuses"][0]["restartCount"] == 1).await;
    node.runtime.set(Faults { panics: 2, ..Faults::default() });
    node.delete(&key, 1).await;
    node.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn an_endless_grace_is_no_fault() {
    let node = Node::new();
    let spec = json!({"terminationGracePeriodSeconds": 300_000_000_000_i64, "activeDeadlineSeconds": i64::MAX,
        "containers": [{"name": "c", "image": "i", "env": [{"name": "SIM_STOP_MS", "value": "7200000"}]}]});
    let key = node.create("x", spec).await;
    node.until_ready(&key).await;
    node.client().write_one(Op::delete_key(key.clone())).await.unwrap();
    seconds(3600).await;
    assert_eq!(node.runtime.signals("x/c").len(), 1, "asked to end, and waited for");
    node.delete(&key, 0).await;
    node.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_out_of_order_loses_nothing() {
    let node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    let before = node.ids().await;
    node.runtime.set(Faults { slow: Duration::from_secs(20), errors: 10, ..Faults::default() });
    node.cluster.compact();
    seconds(600).await;
    node.runtime.set(Faults::default());
    seconds(60).await;
    assert_eq!(node.ids().await, before);
    let removed = node.runtime.calls().into_iter().filter(|call| call.what == What::Remove).count();
    assert_eq!(removed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_asked_again() {
    let node = Node::new();
    node.runtime.set(Faults { probe_panics: 3, ..Faults::default() });
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    let key =
        node.create("x", json!({"containers": [{"name": "c", "image": "i", "readinessProbe": probe}]})).await;
    node.until_ready(&key).await;
}

#[tokio::test(start_paused = true)]
async fn removals_that_fail_are_tried_less_and_less_often() {
    let node = Node::new();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    node.runtime.set(Faults { no_removals: true, ..Faults::default() });
    node.delete(&key, 1).await;
    seconds(600).await;
    let tried = node.runtime.calls().into_iter().filter(|call| call.what == What::Remove).count();
    assert!((5..40).contains(&tried), "tried {tried} times in ten minutes");
    node.runtime.set(Faults::default());
    node.until_empty().await;
}
