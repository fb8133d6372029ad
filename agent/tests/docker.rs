//! The agent on a real Docker engine, against a small cluster in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_agent::AgentConfig;
use coracle_agent::docker::DockerRuntime;
use coracle_agent::labels::{Identity, Owner, SANDBOX};
use coracle_agent::runtime::{Container, Runtime};
use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Op};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod common;
use common::IMAGE;

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of one node, which leaves nothing behind.
struct Bench {
    name: String,
    runtime: Arc<DockerRuntime>,
    cluster: Fake,
    root: tempfile::TempDir,
    agent: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Bench {
    /// `None`, said aloud, where there is no engine or no static busybox; a failure where they are required.
    async fn new(what: &str) -> Option<Bench> {
        let runtime = common::docker(what).await?;
        let name = format!("test-{what}-{}", std::process::id());
        let root = tempfile::tempdir().unwrap();
        let mut bench = Bench { name, runtime: Arc::new(runtime), cluster: Fake::new(), root, agent: None };
        bench.start_agent();
        Some(bench)
    }

    fn client(&self) -> Arc<dyn Client> {
        Arc::new(self.cluster.clone())
    }

    fn start_agent(&mut self) {
        let mut config =
            AgentConfig::new(&self.name, "node-1", self.runtime.clone(), self.root.path().into());
        config.sandbox_image = IMAGE.into();
        let stop = CancellationToken::new();
        let agent = coracle_agent::start(self.client(), config, Clock::system(), stop.clone());
        self.agent = Some((agent, stop));
    }

    /// As a SIGKILL: nothing is said good-bye to.
    async fn kill_agent(&mut self) {
        let (agent, _) = self.agent.take().unwrap();
        agent.abort();
        let _ = agent.await;
    }

    async fn create(&self, pod: Value) -> Key {
        let op = Op::Create { kind: &kinds::POD, namespace: "ns".into(), sub: None, object: pod };
        self.client().write_one(op).await.unwrap().key.clone()
    }

    /// Waits until the pod's status shows something.
    async fn until(&self, key: &Key, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
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

    async fn containers(&self) -> BTreeMap<String, Container> {
        let owner = Owner::node(&self.name, "node-1");
        let all = self.runtime.containers(&owner).await.unwrap();
        let named = all.into_iter().filter_map(|one| {
            let identity = Identity::read(&one.labels)?;
            Some((format!("{}/{}.{}", identity.pod, identity.container, identity.attempt), one))
        });
        named.collect()
    }

    async fn finish(mut self) {
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

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = json!("node-1");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"}, "spec": spec})
}

fn sleeper(name: &str) -> Value {
    json!({"name": name, "image": IMAGE, "command": ["sleep", "3600"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_dies() {
    let Some(bench) = Bench::new("life").await else { return };
    let key = bench
        .create(pod("x", json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})))
        .await;
    let ready = |status: &Value| status["containerStatuses"][0]["ready"] == true;
    let status = bench.until(&key, "ready", ready).await;
    assert_eq!(status["phase"], "Running");
    assert!(status["podIP"].is_string() && status["hostIP"].is_string());
    let containers = bench.containers().await;
    assert_eq!(containers.keys().collect::<Vec<_>>(), [&format!("x/{SANDBOX}.0"), "x/c.0"]);

    bench.runtime.kill(&containers["x/c.0"].id, "SIGKILL").await.unwrap();
    let again = |status: &Value| {
        status["containerStatuses"][0]["restartCount"] == 1 && status["containerStatuses"][0]["ready"] == true
    };
    let status = bench.until(&key, "restarted", again).await;
    let last = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")));

    bench.client().write_one(Op::delete_key(key)).await.unwrap();
    let gone = tokio::time::timeout(PATIENCE, async {
        while !bench.containers().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(gone.await.is_ok(), "containers are left");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_goes_on_where_it_was() {
    let Some(mut bench) = Bench::new("adopt").await else { return };
    let spec = json!({"containers": [sleeper("a"), sleeper("b")], "terminationGracePeriodSeconds": 0});
    let key = bench.create(pod("x", spec)).await;
    let ready = |status: &Value| {
        let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.len() == 2 && all.iter().all(|one| one["ready"] == true)
    };
    bench.until(&key, "ready", ready).await;
    let ids = |all: BTreeMap<String, Container>| all.into_values().map(|one| one.id).collect::<Vec<_>>();
    let before = ids(bench.containers().await);
    bench.kill_agent().await;
    bench.start_agent();
    // A second pod shows that the new agent is at work.
    let other = bench
        .create(pod("y", json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})))
        .await;
    let status = bench.until(&other, "ready", |status| status["containerStatuses"][0]["ready"] == true).await;
    let first = bench.until(&key, "still ready", ready).await;
    assert_ne!(first["podIP"], status["podIP"]);
    let after = ids(bench.containers().await);
    assert!(before.iter().all(|id| after.contains(id)), "the same containers: {before:?}, {after:?}");
    assert_eq!(after.len(), before.len() + 2);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_sidecars_and_last_words() {
    let Some(bench) = Bench::new("order").await else { return };
    let shell = |name: &str, script: &str| {
        json!({"name": name, "image": IMAGE, "command": ["sh", "-c", script],
               "volumeMounts": [{"name": "d", "mountPath": "/d"}]})
    };
    let mut side = shell("side", "echo side >> /d/log; trap 'exit 0' TERM; sleep 3600 & wait");
    side["restartPolicy"] = json!("Always");
    let key = bench
        .create(pod(
            "x",
            json!({
                "restartPolicy": "Never",
                "initContainers": [side, shell("init", "echo init >> /d/log")],
                "containers": [shell("main", "cat /d/log > /dev/termination-log; exit 3")],
                "volumes": [{"name": "d", "emptyDir": {}}],
            }),
        ))
        .await;
    let status = bench.until(&key, "failed", |status| status["phase"] == "Failed").await;
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("side\ninit\n")), "{status:#}");
    let sidecar = &status["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!(sidecar["reason"], "Completed", "{status:#}");
    bench.finish().await;
}
