//! What an agent costs when nothing happens.

use std::sync::Arc;
use std::time::Duration;

use coracle_agent::AgentConfig;
use coracle_agent::sim::SimRuntime;
use coracle_api::{Key, KindRef, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// As a kubelet: the lease says that the node is there, and its status is written every five minutes.
#[tokio::test(start_paused = true)]
async fn an_idle_node_renews_its_lease_and_writes_nothing_else() {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime = Arc::new(SimRuntime::new(clock.clone(), Duration::ZERO));
    let (cluster, root) = (Fake::new(), tempfile::tempdir().unwrap());
    let config = AgentConfig::new("idle", "node-1", runtime, root.path().into());
    let stop = CancellationToken::new();
    let agent = coracle_agent::start(Arc::new(cluster.clone()), config, clock, stop.clone());
    let read = async |kind: KindRef, namespace: &str| {
        cluster.get(&Key::new(kind, namespace, "node-1")).await.unwrap()
    };
    let is_ready = |node: &serde_json::Value| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let ready = tokio::time::timeout(Duration::from_secs(60), async {
        while !read(kinds::NODE.handle(), "").await.is_some_and(|node| is_ready(&node.value().unwrap())) {
            sleep(Duration::from_millis(100)).await;
        }
    });
    ready.await.expect("it becomes ready");
    sleep(Duration::from_secs(15)).await;
    let revisions = async || {
        let node = read(kinds::NODE.handle(), "").await.expect("a node").revision;
        (node, read(kinds::LEASE.handle(), "kube-node-lease").await.expect("a lease").revision)
    };
    let (node, lease) = revisions().await;
    sleep(Duration::from_secs(200)).await;
    let later = revisions().await;
    assert_eq!(later.0, node, "nothing has changed");
    assert!(later.1 > lease, "it is there");
    sleep(Duration::from_secs(120)).await;
    assert!(revisions().await.0 > node, "five minutes are over");
    stop.cancel();
    agent.await.expect("it ends");
}
