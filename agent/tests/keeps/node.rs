//! A node: an agent over simulated containers and a small cluster in memory, on paused time.

use std::sync::Arc;
use std::time::Duration;

use coracle_agent::labels::Owner;
use coracle_agent::runtime::{Container, Runtime};
use coracle_agent::sim::SimRuntime;
use coracle_agent::{AgentConfig, Timing};
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Chance, Client, Clock, Op};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faulty::{Faulty, name_of};

/// How long a container takes to start.
pub const START: Duration = Duration::from_millis(100);
/// In paused time: nothing is waited for longer than any back-off and any grace of these tests.
const PATIENCE: Duration = Duration::from_secs(1200);

pub struct Node {
    pub runtime: Faulty,
    pub cluster: Fake,
    pub clock: Clock,
    chance: Chance,
    root: tempfile::TempDir,
    agent: Option<JoinHandle<()>>,
}

impl Node {
    /// A node whose agent runs.
    pub fn new() -> Node {
        Node::seeded(0)
    }

    /// The same, with the seed of all chance in it.
    pub fn seeded(seed: u64) -> Node {
        let chance = Chance::seeded(seed);
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let runtime = Faulty::new(SimRuntime::new(clock.clone(), START));
        let root = tempfile::tempdir().unwrap();
        let mut node =
            Node { runtime, cluster: Fake::with_clock(clock.clone()), clock, chance, root, agent: None };
        node.start_agent();
        node
    }

    pub fn start_agent(&mut self) {
        let mut config =
            AgentConfig::new("test", "node-1", Arc::new(self.runtime.clone()), self.root.path().into());
        config.timing = Timing { resync: Duration::from_secs(30), ..Timing::kubernetes() };
        config.sandbox_image = "sandbox".into();
        config.chance = self.chance.clone();
        let stop = CancellationToken::new();
        self.agent = Some(coracle_agent::start(self.client(), config, self.clock.clone(), stop));
    }

    /// As a SIGKILL.
    pub async fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
            let _ = agent.await;
        }
    }

    pub fn client(&self) -> Arc<dyn Client> {
        Arc::new(self.cluster.clone())
    }

    pub async fn create(&self, name: &str, mut spec: Value) -> Key {
        spec["nodeName"] = json!("node-1");
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec});
        let op = Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object };
        loop {
            // The cluster may have been told to fail.
            if let Ok(made) = self.client().write_one(op.clone()).await {
                return made.key.clone();
            }
        }
    }

    /// The pod as the API has it; null once it is gone.
    pub async fn pod(&self, key: &Key) -> Value {
        self.cluster.peek(key).map(|pod| pod.value().unwrap()).unwrap_or_default()
    }

    /// Waits until the pod shows something.
    pub async fn until(&self, key: &Key, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                shown = self.pod(key).await;
                if holds(&shown["status"]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(seen.await.is_ok(), "never {what}: {shown:#}");
        shown["status"].clone()
    }

    pub async fn until_ready(&self, key: &Key) -> Value {
        self.until(key, "ready", |status| {
            let all = status["containerStatuses"].as_array();
            all.is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["ready"] == true))
        })
        .await
    }

    pub async fn delete(&self, key: &Key, grace: i64) {
        self.client().write_one(Op::delete_key(key.clone()).with_grace(grace)).await.unwrap();
    }

    /// The node's containers by `POD/CONTAINER.ATTEMPT`, in order.
    pub async fn containers(&self) -> Vec<(String, Container)> {
        let all = self.runtime.engine.containers(&Owner::node("test", "node-1")).await.unwrap();
        let mut named: Vec<_> = all.into_iter().map(|one| (name_of(&one.labels), one)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    }

    /// One of them.
    pub async fn container(&self, name: &str) -> Container {
        let all = self.containers().await;
        let found = all.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no {name}: {all:?}")).1.clone()
    }

    pub fn agent_runs(&self) -> bool {
        self.agent.is_some()
    }

    pub async fn ids(&self) -> Vec<String> {
        self.containers().await.into_iter().map(|(_, one)| one.id).collect()
    }

    /// Waits until no container is left.
    pub async fn until_empty(&self) {
        let empty = tokio::time::timeout(PATIENCE, async {
            while !self.containers().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(empty.await.is_ok(), "these are left: {:?}", self.containers().await);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
        }
    }
}

/// A pod of one container that runs until it is stopped.
pub fn sleeper() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
