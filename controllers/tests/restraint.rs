//! No controller spins: whatever is refused, and however often, writes come no faster than the back-off lets them; and once
//! everything is as it should be, nobody writes anything.
//!
//! The scene gives every controller each kind of write to do that it knows. One run without refusals finds out which those
//! are; then each of them is refused, one after the other, with every code that the server has for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{KindRef, Status, kinds};
use coracle_client::fake::Fake;
use coracle_client::faulty::Faulty;
use coracle_client::{Client, Clock, Op, Write};
use coracle_controllers::{Config, Timing, start};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Attempts that a back-off of 5 ms, doubled each time, allows a key in the first minute: 14. The collector judges an object
/// under the keys of both its owners; a few more are for what other controllers' writes wake meanwhile.
const FIRST_MINUTE: usize = 2 * 14 + 4;
/// After three minutes nothing happens any more that could begin a back-off anew, and the waits are longer than a minute:
/// only others' writes wake.
const LATER_MINUTE: usize = 6;
/// Nobody has that much to write in this scene.
const STUCK: usize = 5_000;

struct Scene {
    cluster: Arc<dyn Client>,
    seen: Faulty,
    stop: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Scene {
    /// Lays out the objects, and starts the controllers on a client that refuses what `refuse` says.
    async fn start(refuse: impl Fn(&Write) -> Option<Status> + Send + Sync + 'static) -> Scene {
        let cluster: Arc<dyn Client> = Arc::new(Fake::new());
        let seen = Faulty::new(cluster.clone());
        seen.stop_after(STUCK);
        seen.refuse_writes(refuse);
        // The fake does not know that a namespace goes with its last finalizer.
        seen.translate(|op| match op {
            Op::Update { key, sub: Some("finalize"), .. } => Op::delete_key(key),
            op => op,
        });
        let stop = CancellationToken::new();
        let scene = Scene { cluster, seen: seen.clone(), stop: stop.clone() };
        scene.lay_out().await;
        let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
        let config = Config { timing: Timing::kubernetes(), ca_pem: "pem".into() };
        start(Arc::new(seen), config, clock, stop);
        scene
    }

    async fn create(&self, kind: impl Into<KindRef>, mut object: Value) -> String {
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!("2027-01-15T07:00:00Z");
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let create = Op::Create { kind: kind.into(), namespace, sub: None, object };
        let stored = self.cluster.write_one(create).await.expect("created").value().expect("JSON");
        stored["metadata"]["uid"].as_str().expect("a uid").to_owned()
    }

    async fn lay_out(&self) {
        // A namespace that lacks what every namespace holds, one whose copy of the authority is wrong, one that goes.
        self.create(&kinds::NAMESPACE, json!({"metadata": {"name": "default"}})).await;
        self.create(&kinds::NAMESPACE, json!({"metadata": {"name": "edited"}})).await;
        let wrong = json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "edited"}, "data": {}});
        self.create(&kinds::CONFIG_MAP, wrong).await;
        let going = json!({"metadata": {"name": "going", "deletionTimestamp": "2027-01-15T07:59:00Z"},
            "spec": {"finalizers": ["kubernetes"]}});
        self.create(&kinds::NAMESPACE, going).await;
        self.create(&kinds::CONFIG_MAP, json!({"metadata": {"name": "c", "namespace": "going"}})).await;
        // A Deployment with sets to make, to scale, to remove, to take and to let go.
        let web = self.create(&kinds::DEPLOYMENT, deployment("web", "web")).await;
        let owner = |uid: &str| json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid, "controller": true}]);
        for (name, app, replicas, owners) in [
            ("old", "web", 3, owner(&web)),
            ("orphan", "web", 0, json!(null)),
            ("relabelled", "other", 0, owner(&web)),
        ] {
            let mut set = set(name, app, replicas);
            set["metadata"]["ownerReferences"] = owners;
            set["spec"]["template"]["metadata"]["labels"]["version"] = json!(name);
            set["metadata"]["annotations"] = json!({"deployment.kubernetes.io/desired-replicas": "2"});
            self.create(&kinds::REPLICA_SET, set).await;
        }
        self.create(&kinds::DEPLOYMENT, deployment("everything", "")).await;
        // A set with pods to make, to remove, to take and to let go.
        let few = self.create(&kinds::REPLICA_SET, set("few", "few", 1)).await;
        let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
        for (name, app, owners) in [
            ("few-a", "few", owner("ReplicaSet", "few", &few)),
            ("few-b", "few", owner("ReplicaSet", "few", &few)),
            ("few-relabelled", "other", owner("ReplicaSet", "few", &few)),
            ("few-orphan", "few", json!(null)),
            // For the collector: the owner is gone.
            ("left", "left", owner("ReplicaSet", "gone", "gone-uid")),
        ] {
            self.create(&kinds::POD, pod(name, app, "alive", owners)).await;
        }
        self.create(&kinds::REPLICA_SET, set("many", "many", 3)).await;
        // One of two owners is gone.
        let config = json!({"metadata": {"name": "shared", "namespace": "default", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "few", "uid": few},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "gone-uid"}]}});
        self.create(&kinds::CONFIG_MAP, config).await;
        let budget = json!({"metadata": {"name": "few", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "few"}}}});
        self.create(&kinds::POD_DISRUPTION_BUDGET, budget).await;
        // A node that has fallen silent, one with a taint that drives pods away, and pods of a node that is no more.
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let evicts = json!([{"key": "k", "effect": "NoExecute"}]);
        for (name, taints) in [("silent", json!(null)), ("tainted", evicts), ("alive", json!(null))] {
            let labels = json!({"kubernetes.io/os": "linux"});
            let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}, "status": ready});
            self.create(&kinds::NODE, node).await;
        }
        self.create(&kinds::POD, pod("on-silent", "x", "silent", json!(null))).await;
        self.create(&kinds::POD, pod("on-tainted", "x", "tainted", json!(null))).await;
        self.create(&kinds::POD, pod("on-lost", "x", "lost", json!(null))).await;
    }

    async fn pass(&self, minutes: u64) {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    }
}

fn labelled(app: &str) -> Value {
    if app.is_empty() { json!({}) } else { json!({"matchLabels": {"app": app}}) }
}

fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c"}]}})
}

fn deployment(name: &str, app: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "replicas": 2, "revisionHistoryLimit": 0, "progressDeadlineSeconds": 600,
        "selector": labelled(app), "template": template(app),
    }})
}

fn set(name: &str, app: &str, replicas: i32) -> Value {
    let meta = json!({"name": name, "namespace": "default", "labels": {"app": app}});
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta,
        "spec": {"replicas": replicas, "selector": labelled(app), "template": template(app)}})
}

fn pod(name: &str, app: &str, node: &str, owners: Value) -> Value {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T07:00:00Z"}]);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "conditions": ready}})
}

/// What a write is about, without the object's name: who, verb, kind and subresource.
fn class(write: &Write) -> String {
    let key = write.op.key();
    let sub = match &write.op {
        Op::Create { sub, .. } => sub.as_ref().map(|(_, sub)| *sub),
        Op::Update { sub, .. } | Op::Patch { sub, .. } => *sub,
        Op::Delete { .. } => None,
    };
    format!("{} {} {}/{}", write.actor, write.op.verb(), key.kind.plural, sub.unwrap_or_default())
}

fn is_event(write: &Write) -> bool {
    write.op.key().kind == kinds::EVENT
}

fn refusals() -> Vec<Status> {
    let of = |code: u16, reason: &str| Status::failure(code, reason, "refused by the test");
    vec![
        of(403, "Forbidden"),
        of(409, "Conflict"),
        of(409, "AlreadyExists"),
        of(422, "Invalid"),
        of(500, "InternalError"),
    ]
}

/// Fails if the writes to any one object were more than the back-off allows.
fn assert_restrained(case: &str, writes: &[(Instant, Write)], begin: Instant) {
    let mut counts: BTreeMap<(u64, String, String), usize> = BTreeMap::new();
    for (at, write) in writes {
        let minute = at.duration_since(begin).as_secs() / 60;
        // Pods are made without a name: those of one set count together.
        *counts.entry((minute, class(write), write.op.key().to_string())).or_default() += 1;
    }
    for ((minute, class, key), count) in counts {
        let made_at_once = if key.ends_with("pods/default/") { 3 } else { 1 };
        let most = made_at_once * if minute < 3 { FIRST_MINUTE } else { LATER_MINUTE };
        assert!(count <= most, "{case}: {class} of {key}: {count} writes in minute {minute}, at most {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_tried_again_no_faster_than_the_back_off() {
    let scene = Scene::start(|_| None).await;
    scene.pass(15).await;
    let classes: BTreeSet<String> = scene
        .seen
        .writes()
        .iter()
        .filter(|(_, write)| !is_event(write))
        .map(|(_, write)| class(write))
        .collect();
    let controllers: BTreeSet<&str> = classes.iter().filter_map(|class| class.split(' ').next()).collect();
    let all = [
        "deployment-controller",
        "disruption-controller",
        "garbage-collector-controller",
        "namespace-controller",
        "node-lifecycle-controller",
        "pod-garbage-collector",
        "replicaset-controller",
        "serviceaccount-controller",
        "taint-eviction-controller",
    ];
    assert_eq!(controllers, BTreeSet::from(all), "the scene has something to do for every controller");
    assert!(classes.len() >= 20, "and of every kind: {classes:#?}");
    drop(scene);
    for refused in classes.into_iter().chain(["everything".to_owned()]) {
        for status in refusals() {
            let case = format!("{refused} refused with {} {}", status.code, status.reason);
            let refused = refused.clone();
            let begin = Instant::now();
            let scene = Scene::start(move |write| {
                let hit = refused == "everything" || class(write) == refused;
                hit.then(|| status.clone())
            })
            .await;
            scene.pass(5).await;
            assert_restrained(&case, &scene.seen.writes(), begin);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn once_all_is_as_it_should_be_nobody_writes() {
    let scene = Scene::start(|_| None).await;
    // Long enough for the Deployment, whose pods never become ready, to be called stuck.
    scene.pass(20).await;
    assert!(scene.seen.writes().len() > 30, "there was something to do");
    scene.seen.forget_writes();
    scene.pass(60).await;
    let writes: BTreeSet<String> = scene.seen.writes().iter().map(|(_, write)| class(write)).collect();
    assert_eq!(writes, BTreeSet::new(), "converged means silent");
}
