//! Pods that are bound to a node where they do not fit. Over simulated containers, on paused time.

use std::sync::Arc;
use std::time::Duration;

use coracle_agent::labels::Owner;
use coracle_agent::runtime::Runtime;
use coracle_agent::sim::SimRuntime;
use coracle_agent::{AgentConfig, Size};
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Interest, Op};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// In paused time.
const PATIENCE: Duration = Duration::from_secs(600);

struct Node {
    runtime: SimRuntime,
    cluster: Fake,
    clock: Clock,
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let runtime = SimRuntime::new(clock.clone(), Duration::from_millis(1));
        Node { runtime, cluster: Fake::with_clock(clock.clone()), clock, root: tempfile::tempdir().unwrap() }
    }

    /// Starts an agent that says that the node has so much processor time; it runs until the token is cancelled.
    fn start(&self, cpu_milli: i64) -> CancellationToken {
        let runtime = Arc::new(self.runtime.clone());
        let mut config = AgentConfig::new("test", "node-1", runtime, self.root.path().into());
        config.sandbox_image = "sandbox".into();
        config.size = Size { cpu_milli, ..Size::default() };
        let stop = CancellationToken::new();
        coracle_agent::start(Arc::new(self.cluster.clone()), config, self.clock.clone(), stop.clone());
        stop
    }

    fn client(&self) -> Arc<dyn Client> {
        Arc::new(self.cluster.clone())
    }

    async fn create(&self, name: &str, cpu: &str, selector: Value) -> Key {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        let spec = json!({"nodeName": "node-1", "containers": [container], "nodeSelector": selector,
            "terminationGracePeriodSeconds": 0});
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec});
        let op = Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object };
        self.client().write_one(op).await.unwrap().key.clone()
    }

    /// The pod's status once it is in this phase.
    async fn until(&self, key: &Key, phase: &str) -> Value {
        self.until_status(key, phase, |status| status["phase"] == phase).await
    }

    /// The pod's status once it shows something.
    async fn until_status(&self, key: &Key, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                shown = self
                    .cluster
                    .peek(key)
                    .map(|found| found.value().unwrap()["status"].clone())
                    .unwrap_or_default();
                if holds(&shown) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(seen.await.is_ok(), "{key} is never {what}: {shown:#}");
        shown
    }

    /// Deletes a pod and waits until the API has forgotten it.
    async fn delete(&self, key: &Key) {
        self.client().write_one(Op::delete_key(key.clone())).await.unwrap();
        let gone = tokio::time::timeout(PATIENCE, async {
            while self.cluster.peek(key).is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        gone.await.unwrap();
    }

    async fn containers(&self) -> usize {
        self.runtime.containers(&Owner::node("test", "node-1")).await.unwrap().len()
    }
}

fn refused(status: &Value) -> [&str; 2] {
    ["reason", "message"].map(|key| status[key].as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_refused_and_the_next_one_gets_its_room() {
    let node = Node::new();
    let _stop = node.start(2000).drop_guard();
    let first = node.create("first", "1500m", json!({})).await;
    let second = node.create("second", "600m", json!({})).await;
    let status = node.until(&second, "Failed").await;
    let message = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000";
    assert_eq!(refused(&status), ["OutOfcpu", &format!("Pod was rejected: {message}")]);
    node.until(&first, "Running").await;
    assert_eq!(node.containers().await, 2, "nothing was made for the second");
    let (events, _) = node.cluster.list(&Interest::all(&kinds::EVENT)).await.unwrap();
    let events: Vec<Value> = events.iter().map(|event| event.value().unwrap()).collect();
    let told: Vec<&Value> =
        events.iter().filter(|event| event["involvedObject"]["name"] == "second").collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (&told[0]["type"], &told[0]["reason"], &told[0]["message"]),
        (&json!("Warning"), &json!("OutOfcpu"), &json!(message))
    );

    // The room of one that was refused is free, and so is that of one that is gone.
    let third = node.create("third", "500m", json!({})).await;
    node.until(&third, "Running").await;
    node.delete(&first).await;
    let fourth = node.create("fourth", "1500m", json!({})).await;
    node.until(&fourth, "Running").await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_here_is_never_refused() {
    let node = Node::new();
    let stop = node.start(2000);
    let old = node.create("old", "1500m", json!({})).await;
    node.until(&old, "Running").await;
    stop.cancel();
    // The machine has become smaller meanwhile. One that comes as the agent starts is new.
    let new = node.create("a-new-one", "100m", json!({})).await;
    let _stop = node.start(1000).drop_guard();
    assert_eq!(refused(&node.until(&new, "Failed").await)[0], "OutOfcpu");
    let other = node.create("asks-for-nothing", "0", json!({})).await;
    node.until(&other, "Running").await;
    assert_eq!(node.until(&old, "Running").await["containerStatuses"][0]["restartCount"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_meant_refuses() {
    let node = Node::new();
    let _stop = node.start(2000).drop_guard();
    let zone = || json!({"zone": "a"});
    let early = node.create("early", "1m", zone()).await;
    let status = node.until(&early, "Failed").await;
    let message =
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_eq!(refused(&status), ["NodeAffinity", message]);
    let label = json!({"metadata": {"labels": zone()}});
    node.client().write_one(Op::merge(Key::new(&kinds::NODE, "", "node-1"), label)).await.unwrap();
    let late = node.create("late", "1m", zone()).await;
    node.until(&late, "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_carries_out_no_resize_that_has_no_room() {
    let node = Node::new();
    let _stop = node.start(2000).drop_guard();
    let key = node.create("x", "500m", json!({})).await;
    node.until(&key, "Running").await;
    let other = node.create("y", "1000m", json!({})).await;
    node.until(&other, "Running").await;
    let pending = |status: &Value| {
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|one| one["type"] == "PodResizePending");
        found.map(|one| one["reason"].clone()).unwrap_or_default()
    };
    for (restarts, cpu, reason) in [(1, "100", "Infeasible"), (2, "1500m", "Deferred")] {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
        let wish = json!({"spec": {"containers": [container]}});
        node.client().write_one(Op::merge(key.clone(), wish)).await.unwrap();
        let status = node.until_status(&key, reason, |status| pending(status) == reason).await;
        let id = status["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
        node.runtime.crash(id.trim_start_matches("docker://"), 1, false);
        let again = |status: &Value| {
            let shown = &status["containerStatuses"][0];
            shown["restartCount"] == restarts && shown["state"]["running"].is_object()
        };
        let status = node.until_status(&key, "restarted", again).await;
        assert_eq!(pending(&status), reason, "{status:#}");
        let shown = &status["containerStatuses"][0];
        assert_eq!(shown["allocatedResources"]["cpu"], "500m", "{status:#}");
        let id = shown["containerID"].as_str().unwrap().trim_start_matches("docker://");
        assert_eq!(node.runtime.inspect(id).await.unwrap().unwrap().limits.cpu_shares, 512, "{reason}");
    }
    let third = node.create("z", "500m", json!({})).await;
    node.until(&third, "Running").await;
}
