//! A cluster of one node on a real engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_agent::AgentConfig;
use coracle_agent::docker::DockerRuntime;
use coracle_agent::labels::{Identity, Owner};
use coracle_agent::runtime::{Container, Runtime};
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Op};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::IMAGE;
use super::line::Line;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of one node, which leaves nothing behind.
pub struct Bench {
    pub name: String,
    pub runtime: Arc<DockerRuntime>,
    pub cluster: Fake,
    pub root: tempfile::TempDir,
    /// Where sessions come from.
    pub line: Line,
    agent: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Bench {
    /// `None`, said aloud, where there is no engine or no static busybox; a failure where they are required.
    pub async fn new(what: &str) -> Option<Bench> {
        let runtime = super::docker(what).await?;
        let name = format!("test-{what}-{}", std::process::id());
        let root = tempfile::tempdir().unwrap();
        let (runtime, cluster, line) = (Arc::new(runtime), Fake::new(), Line::default());
        let mut bench = Bench { name, runtime, cluster, root, line, agent: None };
        bench.start_agent();
        Some(bench)
    }

    pub fn client(&self) -> Arc<dyn Client> {
        Arc::new(self.cluster.clone())
    }

    pub fn start_agent(&mut self) {
        let mut config =
            AgentConfig::new(&self.name, "node-1", self.runtime.clone(), self.root.path().into());
        config.sandbox_image = IMAGE.into();
        config.timing.refresh = Duration::from_millis(500);
        config.lines = Some(Arc::new(self.line.clone()));
        let stop = CancellationToken::new();
        let agent = coracle_agent::start(self.client(), config, Clock::system(), stop.clone());
        self.agent = Some((agent, stop));
    }

    /// As a SIGKILL: nothing is said good-bye to.
    pub async fn kill_agent(&mut self) {
        let (agent, _) = self.agent.take().unwrap();
        agent.abort();
        let _ = agent.await;
    }

    pub async fn create(&self, pod: Value) -> Key {
        let op = Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object: pod };
        self.client().write_one(op).await.unwrap().key.clone()
    }

    /// Waits until the pod's status shows something.
    pub async fn until(&self, key: &Key, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                let pod = self.cluster.get(key).await.unwrap();
                shown = pod.map(|pod| pod.value().unwrap()["status"].clone()).unwrap_or_default();
                if holds(&shown) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(seen.await.is_ok(), "never {what}: {shown:#}");
        shown
    }

    pub async fn containers(&self) -> BTreeMap<String, Container> {
        let owner = Owner::node(&self.name, "node-1");
        let all = self.runtime.containers(&owner).await.unwrap();
        let named = all.into_iter().filter_map(|one| {
            let identity = Identity::read(&one.labels)?;
            Some((format!("{}/{}.{}", identity.pod, identity.container, identity.attempt), one))
        });
        named.collect()
    }

    pub async fn finish(mut self) {
        let (agent, stop) = self.agent.take().unwrap();
        stop.cancel();
        let _ = agent.await;
        let roots = [self.root.path().to_path_buf()];
        coracle_agent::cleanup(
            self.runtime.as_ref(),
            &coracle_agent::labels::Mark::new(&self.name, None),
            None,
            &roots,
        )
        .await
        .unwrap();
        let owner = Owner { cluster: self.name.clone(), node: None };
        assert!(self.runtime.containers(&owner).await.unwrap().is_empty(), "nothing is left");
    }
}

pub fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = json!("node-1");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec})
}

pub fn sleeper(name: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sleep", "3600"]})
}
