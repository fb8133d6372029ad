//! What an agent reports stays true whatever others do to it. Over simulated containers, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coracle_agent::AgentConfig;
use coracle_agent::sim::SimRuntime;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Revision, Status, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Error, Event, Interest, Op, Write};
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// In paused time.
const PATIENCE: Duration = Duration::from_secs(600);

/// An API that refuses as many statuses of pods as it is told to.
struct Refusing {
    cluster: Fake,
    left: AtomicU32,
}

#[async_trait]
impl Client for Refusing {
    fn kinds(&self) -> &Kinds {
        self.cluster.kinds()
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        self.cluster.get(key).await
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        self.cluster.list(interest).await
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        self.cluster.watch(interests, since).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        let is_status = |write: &Write| match &write.op {
            Op::Patch { key, sub: Some("status"), .. } => key.kind == kinds::POD,
            _ => false,
        };
        let less = |left: u32| left.checked_sub(1);
        if writes.iter().any(is_status)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            return Ok(writes.iter().map(|_| Err(Status::failure(422, "Invalid", "not this one"))).collect());
        }
        self.cluster.write(writes).await
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.cluster.report(verdicts).await
    }
}

/// An agent that runs until it is dropped.
struct Agent {
    cluster: Fake,
    _root: tempfile::TempDir,
    stop: CancellationToken,
}

impl Agent {
    fn start(cluster: Fake, clock: Clock, refusals: u32) -> Agent {
        let runtime = Arc::new(SimRuntime::new(clock.clone(), Duration::ZERO));
        let (root, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let mut config = AgentConfig::new("test", "node-1", runtime, root.path().into());
        config.sandbox_image = "sandbox".into();
        let client = Refusing { cluster: cluster.clone(), left: AtomicU32::new(refusals) };
        coracle_agent::start(Arc::new(client), config, clock, stop.clone());
        Agent { cluster, _root: root, stop }
    }

    /// Waits until an object shows something.
    async fn until(&self, key: &Key, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                shown = self.cluster.peek(key).map(|found| found.value().unwrap()).unwrap_or_default();
                if holds(&shown) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(seen.await.is_ok(), "never {what}: {shown:#}");
        shown
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn cluster() -> (Fake, Clock) {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    (Fake::with_clock(clock.clone()), clock)
}

/// A pod whose status tells addresses that neither it nor its node has any more.
async fn pod_of_another_network(cluster: &Fake) -> Key {
    let client: Arc<dyn Client> = Arc::new(cluster.clone());
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "ns"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}});
    let op = Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object };
    let key = client.write_one(op).await.unwrap().key.clone();
    let old = json!({"status": {"podIP": "10.90.0.2", "podIPs": [{"ip": "10.90.0.2"}],
        "hostIP": "10.90.0.1", "hostIPs": [{"ip": "10.90.0.1"}]}});
    client.write_one(Op::merge_status(key.clone(), old)).await.unwrap();
    key
}

#[tokio::test(start_paused = true)]
async fn a_changed_address_replaces_the_old_one() {
    let (cluster, clock) = cluster();
    let key = pod_of_another_network(&cluster).await;
    let agent = Agent::start(cluster, clock, 0);
    let pod = agent.until(&key, "running", |pod| pod["status"]["phase"] == "Running").await;
    for (one, all) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let status = &pod["status"];
        assert!(!status[one].as_str().unwrap().starts_with("10.90."), "{status:#}");
        assert_eq!(status[all], json!([{"ip": status[one]}]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_status_is_told_and_written_again() {
    let (cluster, clock) = cluster();
    let key = pod_of_another_network(&cluster).await;
    // More than the pod has changes, so that without another try nothing would ever arrive.
    let agent = Agent::start(cluster, clock, 20);
    agent.until(&key, "running", |pod| pod["status"]["phase"] == "Running").await;
    let (events, _) = agent.cluster.list(&Interest::all(&kinds::EVENT)).await.unwrap();
    let events = events.iter().map(|event| event.value().unwrap());
    let told: Vec<Value> = events.filter(|event| event["reason"] == "FailedStatusUpdate").collect();
    assert_eq!(told.len(), 1, "once for each reason: {told:#?}");
    assert_eq!(told[0]["message"], "The API refuses the status of the pod: not this one");
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

#[tokio::test(start_paused = true)]
async fn addresses_that_a_node_does_not_have_go() {
    let (cluster, clock) = cluster();
    let agent = Agent::start(cluster, clock, 0);
    let client: Arc<dyn Client> = Arc::new(agent.cluster.clone());
    let node = Key::new(&kinds::NODE, "", "node-1");
    let mut addresses = agent.until(&node, "ready", is_ready).await["status"]["addresses"].clone();
    let own = addresses.clone();
    addresses[0] = json!({"type": "ExternalIP", "address": "192.0.2.1"});
    let patch = json!({"status": {"addresses": addresses}});
    client.write_one(Op::merge_status(node.clone(), patch)).await.unwrap();
    agent.until(&node, "itself again", |node| node["status"]["addresses"] == own).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_is_registered_again() {
    let (node, lease) =
        (Key::new(&kinds::NODE, "", "node-1"), Key::new(&kinds::LEASE, "kube-node-lease", "node-1"));
    let (cluster, clock) = cluster();
    let agent = Agent::start(cluster, clock, 0);
    let client: Arc<dyn Client> = Arc::new(agent.cluster.clone());
    let mut before = agent.until(&node, "ready", is_ready).await;
    // With its lease, as a cluster's garbage collector does, and without.
    for gone in [vec![&node, &lease], vec![&node]] {
        for key in &gone {
            client.write_one(Op::delete_key((*key).clone())).await.unwrap();
        }
        let again = agent.until(&node, "ready again", is_ready).await;
        assert_ne!(again["metadata"]["uid"], before["metadata"]["uid"], "another one");
        assert_eq!(again["spec"]["podCIDR"], before["spec"]["podCIDR"], "its pods keep their addresses");
        let held = agent.until(&lease, "a lease", Value::is_object).await;
        let owner = &held["metadata"]["ownerReferences"][0]["uid"];
        assert!(gone.len() == 1 || *owner == again["metadata"]["uid"], "{held:#}");
        before = again;
    }
}
