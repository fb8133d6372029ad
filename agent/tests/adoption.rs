//! The agent over simulated containers: what it takes over when it starts, and what it leaves alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_agent::AgentConfig;
use coracle_agent::labels::{Mark, Owner};
use coracle_agent::runtime::{ContainerSpec, NetworkMode, Runtime};
use coracle_agent::sim::SimRuntime;
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Event, Interest, Op};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    runtime: SimRuntime,
    cluster: Fake,
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let runtime = SimRuntime::new(Clock::system(), Duration::from_millis(1));
        Node { runtime, cluster: Fake::new(), root: tempfile::tempdir().unwrap() }
    }

    fn start_agent(&self) -> JoinHandle<()> {
        let runtime = Arc::new(self.runtime.clone());
        let config = AgentConfig::new("test", "node-1", runtime, self.root.path().into());
        let client = Arc::new(self.cluster.clone());
        coracle_agent::start(client, config, Clock::system(), CancellationToken::new())
    }

    async fn create(&self, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}});
        let op = Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object };
        let client: Arc<dyn Client> = Arc::new(self.cluster.clone());
        client.write_one(op).await.unwrap();
    }

    async fn status(&self, name: &str) -> Value {
        let pod = self.cluster.get(&Key::new(&kinds::POD, "ns", name)).await.unwrap().unwrap();
        pod.value().unwrap()["status"].clone()
    }

    /// The addresses of the pods once all of them run.
    async fn addresses(&self, names: &[String]) -> BTreeSet<String> {
        let mut shown = Value::Null;
        let all = tokio::time::timeout(PATIENCE, async {
            let mut addresses = BTreeSet::new();
            for name in names {
                loop {
                    shown = self.status(name).await;
                    if shown["containerStatuses"][0]["ready"] == true {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                addresses.insert(shown["podIP"].as_str().unwrap().to_owned());
            }
            addresses
        });
        all.await.unwrap_or_else(|_| panic!("not all run: {shown:#}"))
    }

    /// The reasons of all events so far.
    async fn told(&self) -> Vec<String> {
        let (events, _) = self.cluster.list(&Interest::all(&kinds::EVENT)).await.unwrap();
        let reason = |value: Value| value["reason"].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| reason(event.value().unwrap())).collect()
    }

    async fn containers(&self) -> usize {
        self.runtime.containers(&Owner::node("test", "node-1")).await.unwrap().len()
    }
}

fn names(prefix: &str) -> Vec<String> {
    (0..10).map(|n| format!("{prefix}{n}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_made_while_an_agent_is_down_take_nothing_from_those_that_run() {
    // The order in which workers start is the scheduler's: once is not enough.
    for _ in 0..20 {
        let node = Node::new();
        let (old, new) = (names("old"), names("new"));
        for name in &old {
            node.create(name).await;
        }
        let agent = node.start_agent();
        let before = node.addresses(&old).await;
        agent.abort();
        let _ = agent.await;
        for name in &new {
            node.create(name).await;
        }
        let agent = node.start_agent();
        let added = node.addresses(&new).await;
        assert_eq!(node.addresses(&old).await, before, "kept");
        assert_eq!((before.len(), added.len(), before.intersection(&added).count()), (10, 10, 0));
        assert_eq!(node.containers().await, 40, "none twice");
        assert!(!node.told().await.contains(&"FailedCreatePodSandBox".into()));
        agent.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_engine_refuses_is_passed_over() {
    let node = Node::new();
    let slice = "10.0.0.0/24";
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
        "spec": {"podCIDR": slice, "podCIDRs": [slice]}});
    let op = Op::Create { kind: kinds::NODE.handle(), namespace: String::new(), sub: None, object };
    let client: Arc<dyn Client> = Arc::new(node.cluster.clone());
    client.write_one(op).await.unwrap();
    let address = "10.0.0.2".parse().unwrap();
    node.runtime.ensure_network(&Mark::new("test", None), None).await.unwrap();
    let network = NetworkMode::Bridge { network: "coracle-test".into(), address, ports: Vec::new() };
    let foreign = ContainerSpec { name: "foreign".into(), network, ..ContainerSpec::default() };
    let foreign = node.runtime.create(&foreign).await.unwrap();
    node.runtime.start(&foreign).await.unwrap();
    node.create("x").await;
    let agent = node.start_agent();
    assert_eq!(node.addresses(&["x".into()]).await, BTreeSet::from(["10.0.0.3".into()]));
    assert!(node.runtime.inspect(&foreign).await.unwrap().unwrap().state.is_running(), "not ours");
    agent.abort();
}

/// As the rights of nodes demand (`NodeRestriction`): a node may not delete any Node, its own least of all.
#[tokio::test(start_paused = true)]
async fn agents_that_want_one_slice_agree_and_delete_nothing() {
    let (cluster, stop) = (Fake::new(), CancellationToken::new());
    let names: Vec<String> = (0..4).map(|n| format!("node-{n}")).collect();
    let (_, start) = cluster.list(&Interest::all(&kinds::NODE)).await.unwrap();
    let mut changes = cluster.watch(vec![Interest::all(&kinds::NODE)], start).await.unwrap();
    for name in &names {
        let runtime = Arc::new(SimRuntime::new(Clock::system(), Duration::ZERO));
        let config =
            AgentConfig { slice: Some(5), ..AgentConfig::new("test", name, runtime, "/nowhere".into()) };
        coracle_agent::start(Arc::new(cluster.clone()), config, Clock::system(), stop.clone());
    }
    let mut slices = BTreeMap::new();
    let all_ready = tokio::time::timeout(PATIENCE, async {
        while slices.len() < names.len() {
            match changes.next().await.unwrap().unwrap() {
                Event::Added(node) | Event::Modified(node) => {
                    let value = node.value().unwrap();
                    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
                    if conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True") {
                        let slice = value["spec"]["podCIDR"].as_str().unwrap().to_owned();
                        slices.insert(value["metadata"]["name"].to_string(), slice);
                    }
                }
                Event::Deleted(node) => panic!("{} was deleted", node.key),
                Event::Bookmark(_) => {}
            }
        }
    });
    all_ready.await.expect("all become ready");
    let different: BTreeSet<&String> = slices.values().collect();
    assert_eq!(different.len(), names.len(), "{slices:?}");
    stop.cancel();
}
