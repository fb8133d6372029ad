//! Nodes that fall silent, on paused time: the controllers' own clock runs the story in no time, and exactly.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Op};
use coracle_controllers::{Config, Timing, start};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Cluster {
    fake: Fake,
    client: Arc<dyn Client>,
    stop: CancellationToken,
}

impl Cluster {
    fn start() -> Cluster {
        let fake = Fake::new();
        let client: Arc<dyn Client> = Arc::new(fake.clone());
        let stop = CancellationToken::new();
        let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
        let config = Config { timing: Timing::demo(), ca_pem: "pem".into() };
        start(client.clone(), config, clock, stop.clone());
        Cluster { fake, client, stop }
    }

    async fn write(&self, op: Op) {
        self.client.write_one(op).await.expect("written");
    }

    async fn create(&self, kind: impl Into<coracle_api::KindRef>, object: Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.write(Op::Create { kind: kind.into(), namespace, sub: None, object }).await;
    }

    async fn add_node(&self, name: &str) {
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        self.create(&kinds::NODE, json!({"metadata": {"name": name}, "status": status})).await;
        let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {}});
        self.create(&kinds::LEASE, lease).await;
    }

    async fn renew(&self, name: &str, tick: u64) {
        let at = Timestamp::from_second(1_800_000_000 + i64::try_from(tick).expect("small")).expect("a time");
        let patch = json!({"spec": {"renewTime": at.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()}});
        self.write(Op::merge(Key::new(&kinds::LEASE, "kube-node-lease", name), patch)).await;
    }

    async fn add_pod(&self, name: &str, node: &str, tolerance: Option<i64>) {
        let tolerations = tolerance.map(|seconds| {
            json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": seconds}])
        });
        let spec = json!({"nodeName": node, "containers": [{"name": "c"}], "tolerations": tolerations});
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let meta = json!({"name": name, "namespace": "default", "generation": 1});
        self.create(&kinds::POD, json!({"metadata": meta, "spec": spec, "status": status})).await;
    }

    async fn get(&self, kind: impl Into<coracle_api::KindRef>, namespace: &str, name: &str) -> Option<Value> {
        let object = self.client.get(&Key::new(kind, namespace, name)).await.expect("an answer");
        object.map(|object| object.value().expect("JSON"))
    }

    /// Lets `seconds` pass, during which these nodes renew their leases every second.
    async fn pass(&self, from: u64, seconds: u64, living: &[&str]) {
        for tick in from..from + seconds {
            for name in living {
                self.renew(name, tick).await;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            // Lets everybody act who has been woken.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn ready(&self, kind: impl Into<coracle_api::KindRef>, namespace: &str, name: &str) -> String {
        let object = self.get(kind, namespace, name).await.unwrap_or_default();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        ready.map(|ready| ready["status"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    }

    /// Whether a pod was asked to go: its node, which is silent, cannot confirm it.
    async fn leaves(&self, pod: &str) -> bool {
        let pod = self.get(&kinds::POD, "default", pod).await;
        pod.is_none_or(|pod| pod["metadata"]["deletionTimestamp"].is_string())
    }

    async fn taints(&self, node: &str) -> Vec<String> {
        let object = self.get(&kinds::NODE, "", node).await.unwrap_or_default();
        let taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().replace("node.kubernetes.io/", "");
        taints.iter().map(|taint| format!("{}:{}", text(&taint["key"]), text(&taint["effect"]))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_tainted_and_its_pods_leave_when_they_have_tolerated_enough() {
    let cluster = Cluster::start();
    cluster.add_node("dead").await;
    cluster.add_node("alive").await;
    cluster.add_pod("short", "dead", Some(5)).await;
    cluster.add_pod("patient", "dead", None).await;
    cluster.add_pod("other", "alive", Some(5)).await;

    cluster.pass(0, 5, &["dead", "alive"]).await;
    assert_eq!(cluster.ready(&kinds::NODE, "", "dead").await, "True");
    // The last lease was renewed at second 4; the grace is 6 s.
    cluster.pass(5, 4, &["alive"]).await;
    assert_eq!(cluster.ready(&kinds::NODE, "", "dead").await, "True", "within its grace");
    cluster.pass(9, 3, &["alive"]).await;
    assert_eq!(cluster.ready(&kinds::NODE, "", "dead").await, "Unknown");
    assert_eq!(cluster.taints("dead").await, ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    assert_eq!(cluster.taints("alive").await, [""; 0]);
    assert_eq!(cluster.ready(&kinds::POD, "default", "short").await, "False", "nobody can know better");
    assert!(cluster.leaves("patient").await, "tolerates nothing");
    assert!(!cluster.leaves("short").await);

    cluster.pass(12, 5, &["alive"]).await;
    assert!(cluster.leaves("short").await, "its 5 s are over");
    assert_eq!(cluster.ready(&kinds::POD, "default", "other").await, "True");
    let marked = cluster.fake.writes().into_iter().filter(|write| {
        matches!(&write.op, Op::Patch { patch, .. } if patch.to_string().contains("DeletionByTaintManager"))
    });
    assert_eq!(marked.count(), 2, "each was told why before it went");
    cluster.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let cluster = Cluster::start();
    cluster.add_node("n").await;
    cluster.add_node("alive").await;
    cluster.add_pod("p", "n", Some(5)).await;
    cluster.pass(0, 8, &["alive"]).await;
    assert_eq!(cluster.taints("n").await.len(), 2);
    let back = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.write(Op::merge_status(Key::new(&kinds::NODE, "", "n"), back)).await;
    cluster.pass(8, 20, &["n", "alive"]).await;
    assert_eq!(cluster.taints("n").await, [""; 0]);
    assert!(cluster.get(&kinds::POD, "default", "p").await.is_some());
    cluster.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn when_every_node_is_silent_no_pod_is_driven_away() {
    let cluster = Cluster::start();
    cluster.add_node("a").await;
    cluster.add_node("b").await;
    cluster.add_pod("p", "a", None).await;
    cluster.pass(0, 30, &[]).await;
    assert_eq!(cluster.taints("a").await, ["unreachable:NoSchedule"]);
    assert!(cluster.get(&kinds::POD, "default", "p").await.is_some());
    cluster.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_lost_node_fail_and_go_after_the_quarantine() {
    let cluster = Cluster::start();
    cluster.add_pod("p", "gone", None).await;
    cluster.pass(0, 4, &[]).await;
    assert!(cluster.get(&kinds::POD, "default", "p").await.is_some(), "the node may still register");
    cluster.pass(4, 4, &[]).await;
    assert!(cluster.get(&kinds::POD, "default", "p").await.is_none());
    cluster.stop.cancel();
}
