//! The whole scheduler against a cluster in memory, on paused time.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Error, Op};
use coracle_scheduler::{Config, start};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// No wait here is for anything that takes longer, in virtual time.
const PATIENCE: Duration = Duration::from_secs(2);

struct Running {
    fake: Fake,
    client: Arc<dyn Client>,
    stop: CancellationToken,
}

fn run() -> Running {
    let fake = Fake::new();
    let client: Arc<dyn Client> = Arc::new(fake.clone());
    let stop = CancellationToken::new();
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time"));
    start(client.clone(), &Config::default(), clock, stop.clone()).expect("the default profile exists");
    Running { fake, client, stop }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    async fn node(&self, name: &str, cpu: &str) {
        let node = json!({ "metadata": { "name": name }, "status": { "allocatable": { "cpu": cpu, "pods": "10" } } });
        self.client.create::<Node>(&serde_json::from_value(node).expect("a node")).await.expect("created");
    }

    async fn pod(&self, name: &str, cpu: &str, priority: i32) {
        let pod = json!({
            "metadata": { "name": name, "namespace": "d", "generation": 1 },
            "spec": {
                "schedulerName": "default-scheduler",
                "priority": priority,
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }],
            },
        });
        self.client.create::<Pod>(&serde_json::from_value(pod).expect("a pod")).await.expect("created");
    }

    async fn seen(&self, name: &str) -> Value {
        let object = self.client.get(&key(name)).await.expect("the fake answers");
        object.map(|o| o.value().expect("JSON")).unwrap_or_default()
    }

    /// Waits until the pod is as it should be. Time is paused: a wait costs nothing.
    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let pod = self.seen(name).await;
                if holds(&pod) {
                    return pod;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it comes true in time")
    }

    async fn bound(&self, name: &str) -> String {
        let pod = self.until(name, |pod| pod["spec"]["nodeName"].is_string()).await;
        pod["spec"]["nodeName"].as_str().unwrap_or_default().to_string()
    }

    async fn refused(&self, name: &str) -> String {
        let pod = self.until(name, |pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable").await;
        pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_string()
    }

    fn bindings(&self) -> usize {
        let is_binding = |op: &Op| matches!(op, Op::Create { sub: Some((_, "binding")), .. });
        self.fake.writes().iter().filter(|w| is_binding(&w.op)).count()
    }

    async fn events(&self) -> Vec<(String, String)> {
        let events = self
            .client
            .list(&coracle_client::Interest::all(&kinds::EVENT))
            .await
            .expect("the fake answers")
            .0;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let mut all: Vec<_> = events
            .iter()
            .map(|e| e.value().expect("JSON"))
            .map(|e| (text(&e["reason"]), text(&e["message"])))
            .collect();
        all.sort();
        all
    }
}

fn key(pod: &str) -> Key {
    Key::new(&kinds::POD, "d", pod)
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_room_and_everybody_is_told() {
    let cluster = run();
    cluster.pod("p", "1", 0).await;
    assert_eq!(cluster.refused("p").await, "no nodes available to schedule pods");
    cluster.node("small", "500m").await;
    cluster
        .until("p", |pod| {
            pod["status"]["conditions"][0]["message"].as_str().is_some_and(|m| m.starts_with("0/1 nodes"))
        })
        .await;
    let verdict = cluster.fake.verdict(&key("p")).expect("it is reported");
    assert_eq!(verdict["rows"][0]["detail"], "needs 1 cpu, 500m free (the whole node has 500m)");
    cluster.node("large", "2").await;
    assert_eq!(cluster.bound("p").await, "large");
    let verdict = cluster.fake.verdict(&key("p")).expect("it is reported");
    assert_eq!((&verdict["node"], verdict["rows"].as_array().map(Vec::len)), (&json!("large"), Some(2)));
    tokio::time::sleep(PATIENCE).await;
    let events = cluster.events().await;
    let scheduled = ("Scheduled".to_string(), "Successfully assigned d/p to large".to_string());
    assert!(
        events.contains(&scheduled) && events.iter().any(|(reason, _)| reason == "FailedScheduling"),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_more_important_pod_goes_first() {
    let cluster = run();
    cluster.pod("low", "1", 0).await;
    cluster.pod("high", "1", 10).await;
    cluster.refused("low").await;
    cluster.refused("high").await;
    cluster.node("a", "1").await;
    assert_eq!(cluster.bound("high").await, "a");
    assert!(cluster.seen("low").await["spec"]["nodeName"].is_null());
}

#[tokio::test(start_paused = true)]
async fn room_that_a_deleted_pod_leaves_is_given_at_once() {
    let cluster = run();
    cluster.node("a", "1").await;
    cluster.pod("first", "1", 0).await;
    cluster.bound("first").await;
    cluster.pod("second", "1", 0).await;
    assert!(cluster.refused("second").await.contains("No preemption victims found for incoming pod"));
    cluster.client.write_one(Op::delete_key(key("first")).with_grace(0)).await.expect("deleted");
    cluster.bound("second").await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_binding_is_made_again_and_a_doubtful_one_is_not() {
    for happens in [false, true] {
        let cluster = run();
        cluster.node("a", "1").await;
        tokio::time::sleep(PATIENCE).await;
        // The pod's own creation must not be what fails, so the failure waits after it: the pod is in already.
        cluster.pod("p", "1", 0).await;
        cluster.fake.fail_next_write(Error::Unreachable("gone".into()), happens);
        assert_eq!(cluster.bound("p").await, "a");
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(cluster.bindings(), if happens { 1 } else { 2 }, "happens: {happens}");
    }
}

#[tokio::test(start_paused = true)]
async fn room_is_given_within_two_seconds_however_it_appears_and_however_often_a_pod_was_refused() {
    let node = |name: &str| Key::new(&kinds::NODE, "", name);
    let ways = [
        ("a pod is deleted", Op::delete_key(key("first")).with_grace(0)),
        ("a pod ends", Op::merge_status(key("first"), json!({ "status": { "phase": "Succeeded" } }))),
        (
            "a node grows",
            Op::merge_status(node("full"), json!({ "status": { "allocatable": { "cpu": "2" } } })),
        ),
        ("a node is uncordoned", Op::merge(node("cordoned"), json!({ "spec": { "unschedulable": false } }))),
        ("a taint goes", Op::merge(node("tainted"), json!({ "spec": { "taints": [] } }))),
    ];
    for (way, room) in ways {
        let cluster = run();
        cluster.node("full", "1").await;
        cluster.pod("first", "1", 0).await;
        cluster.bound("first").await;
        for (name, spec) in [
            ("cordoned", json!({ "unschedulable": true })),
            ("tainted", json!({ "taints": [{ "key": "k", "effect": "NoSchedule" }] })),
        ] {
            cluster.node(name, "0").await;
            let change = json!({ "spec": spec, "status": { "allocatable": { "cpu": "1" } } });
            cluster.client.write_one(Op::merge(node(name), change)).await.expect("changed");
        }
        cluster.pod("second", "1", 0).await;
        cluster.refused("second").await;
        // A node that changes all the time wakes the pod again and again, until its back-off is the longest.
        for round in 0..200 {
            let room = json!({ "status": { "allocatable": { "cpu": format!("{}m", 999 - round % 2) } } });
            cluster.client.write_one(Op::merge_status(node("tainted"), room)).await.expect("changed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let full = json!({ "status": { "allocatable": { "cpu": "1" } } });
        cluster.client.write_one(Op::merge_status(node("tainted"), full)).await.expect("changed");
        assert!(cluster.seen("second").await["spec"]["nodeName"].is_null(), "{way}: there was no room yet");
        let start = tokio::time::Instant::now();
        cluster.client.write_one(room).await.expect("written");
        cluster.bound("second").await;
        assert!(start.elapsed() < Duration::from_secs(2), "{way}: after {:?}", start.elapsed());
    }
}
