//! A size that is taken back at once: what was asked for a moment ago is not made first.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::fake::Fake;
use coracle_client::faulty::Faulty;
use coracle_client::{Client, Clock, Op};
use coracle_controllers::{Config, start};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// As upstream's.
const BURST: usize = 500;

#[tokio::test(start_paused = true)]
async fn a_set_scaled_to_a_hundred_thousand_and_back_to_one_makes_few_pods() {
    let cluster: Arc<dyn Client> = Arc::new(Fake::new());
    let seen = Faulty::new(cluster.clone());
    let stop = CancellationToken::new();
    let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
    start(Arc::new(seen.clone()), Config::default(), clock, stop.clone());
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}});
    let set = json!({"metadata": {"name": "x", "namespace": "default", "generation": 1}, "spec": {
        "replicas": 100_000, "selector": {"matchLabels": {"app": "x"}}, "template": template}});
    let create =
        Op::Create { kind: kinds::REPLICA_SET.handle(), namespace: "default".into(), sub: None, object: set };
    cluster.write_one(create).await.expect("created");

    let writes = |verb: &str| {
        let is_meant = |op: &Op| op.verb() == verb && op.key().kind == kinds::POD;
        seen.writes().iter().filter(|(_, write)| is_meant(&write.op)).count()
    };
    while writes("create") == 0 {
        tokio::task::yield_now().await;
    }
    let smaller = json!({"metadata": {"generation": 2}, "spec": {"replicas": 1}});
    cluster
        .write_one(Op::merge(Key::new(&kinds::REPLICA_SET, "default", "x"), smaller))
        .await
        .expect("scaled");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (made, removed) = (writes("create"), writes("delete"));
    assert!(made <= 2 * BURST, "{made} pods were made although one was enough");
    assert_eq!(made - removed, 1, "one is left");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_large_set_gets_there_turn_by_turn() {
    let cluster: Arc<dyn Client> = Arc::new(Fake::new());
    let stop = CancellationToken::new();
    let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
    start(cluster.clone(), Config::default(), clock, stop.clone());
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c"}]}});
    let set = json!({"metadata": {"name": "x", "namespace": "default", "generation": 1}, "spec": {
        "replicas": 1_234, "selector": {"matchLabels": {"app": "x"}}, "template": template}});
    let create =
        Op::Create { kind: kinds::REPLICA_SET.handle(), namespace: "default".into(), sub: None, object: set };
    cluster.write_one(create).await.expect("created");
    let key = Key::new(&kinds::REPLICA_SET, "default", "x");
    for size in [1_234, 3] {
        let scale = json!({"spec": {"replicas": size}});
        cluster.write_one(Op::merge(key.clone(), scale)).await.expect("scaled");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let set = cluster.get(&key).await.expect("an answer").expect("the set").value().expect("JSON");
        assert_eq!(set["status"]["replicas"], json!(size));
    }
    stop.cancel();
}
