//! Somebody else removes the cluster's network, or takes sandboxes out of it.

use std::net::Ipv4Addr;

use coracle_agent::labels::Mark;
use coracle_agent::runtime::Runtime as _;
use coracle_api::kinds;
use coracle_client::{Client, Interest};
use serde_json::{Value, json};

use crate::node::{Node, seconds, sleeper};

/// The messages of events with this reason.
async fn events(node: &Node, reason: &str) -> Vec<String> {
    let (events, _) = node.cluster.list(&Interest::all(&kinds::EVENT)).await.unwrap();
    let events = events.iter().map(|event| event.value().unwrap());
    let said = events.filter(|event| event["reason"] == reason);
    said.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn network_id(node: &Node) -> String {
    node.runtime.engine.ensure_network(&Mark::new("test", None), None).await.unwrap().id
}

fn condition(status: &Value, kind: &str) -> Value {
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["type"] == kind).unwrap_or_default()["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_network_that_was_pruned_is_made_again_for_the_next_pod() {
    let node = Node::new();
    let first = node.create("first", sleeper()).await;
    node.until_ready(&first).await;
    node.delete(&first, 0).await;
    node.until_empty().await;
    node.runtime.engine.remove_network();
    let key = node.create("x", sleeper()).await;
    node.until_ready(&key).await;
    seconds(1).await;
    let told = events(&node, "NetworkMadeAgain").await;
    assert_eq!(told, ["network coracle-test (10.0.0.0/8) was gone; it has been made again"]);
    assert_eq!(events(&node, "FailedCreatePodSandBox").await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_network_that_was_pruned_is_made_again_where_no_pod_wants_it() {
    let node = Node::new();
    seconds(5).await;
    let before = network_id(&node).await;
    node.runtime.engine.remove_network();
    seconds(15).await;
    // The event tells that it was the agent, and not the look below.
    assert_eq!(events(&node, "NetworkMadeAgain").await.len(), 1);
    assert_ne!(network_id(&node).await, before);
    seconds(60).await;
    assert_eq!(events(&node, "NetworkMadeAgain").await.len(), 1, "told once");
}

/// What a pod's containers have lost is noticed, told, and made anew: with the pod's address, which it keeps for life.
#[tokio::test(start_paused = true)]
async fn a_sandbox_without_its_address_is_made_anew() {
    type Stranger = fn(&Node, &str);
    let elsewhere: Stranger = |node, id| {
        node.runtime.engine.reconnect(id, Ipv4Addr::new(10, 200, 0, 9)).unwrap();
    };
    let cases: [(&str, Stranger, bool, u64); 5] = [
        ("disconnected", |node, id| node.runtime.engine.disconnect(id), true, 5),
        ("connected again elsewhere, unheard", elsewhere, true, 35),
        ("the network was removed", |node, _| node.runtime.engine.remove_network(), true, 5),
        ("disconnected while no agent runs", |node, id| node.runtime.engine.disconnect(id), false, 5),
        ("connected elsewhere while no agent runs", elsewhere, false, 5),
    ];
    for (case, act, agent_runs, within) in cases {
        let mut node = Node::new();
        let key = node.create("x", sleeper()).await;
        let before = node.until_ready(&key).await;
        let sandbox = node.container("x/POD.0").await.id;
        assert_eq!(condition(&before, "PodReadyToStartContainers"), "True", "{case}");
        if !agent_runs {
            node.kill_agent().await;
        }
        act(&node, &sandbox);
        if !agent_runs {
            node.start_agent();
        }
        let lost = |status: &Value| condition(status, "PodReadyToStartContainers") == "False";
        let begun = tokio::time::Instant::now();
        let status = node.until(&key, "seen without its network", lost).await;
        assert!(begun.elapsed().as_secs() <= within, "{case}: {:?}", begun.elapsed());
        assert_eq!(condition(&status, "Ready"), "False", "{case}: nobody reaches it: {status:#}");
        let after = node.until_ready(&key).await;
        assert_eq!(
            (&after["podIP"], condition(&after, "PodReadyToStartContainers")),
            (&before["podIP"], json!("True"))
        );
        assert_eq!(after["containerStatuses"][0]["restartCount"], 1, "{case}");
        let made = node.container("x/POD.0").await;
        assert_ne!(made.id, sandbox, "{case}");
        assert_eq!(
            made.address.map(|address| json!(address.to_string())),
            Some(before["podIP"].clone()),
            "{case}"
        );
        seconds(60).await;
        assert_eq!(events(&node, "SandboxChanged").await.len(), 1, "{case}");
        assert_eq!(node.container("x/POD.0").await.id, made.id, "{case}: once is enough");
    }
}

/// Another network beside the cluster's, or a pod on the machine's network, is nothing to mend.
#[tokio::test(start_paused = true)]
async fn a_pod_on_the_machines_network_has_nothing_to_lose() {
    let node = Node::new();
    let mut spec = sleeper();
    spec["hostNetwork"] = json!(true);
    let key = node.create("x", spec).await;
    node.until_ready(&key).await;
    let before = node.ids().await;
    node.runtime.engine.remove_network();
    seconds(120).await;
    assert_eq!((node.ids().await, events(&node, "SandboxChanged").await.len()), (before, 0));
}
