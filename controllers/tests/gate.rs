//! With the gate closed the controllers show what they would do, and do only what is let through.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::kinds;
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Gate, Interest, Op, Write};
use coracle_controllers::{Config, start_gated};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn a_closed_gate_shows_each_plan_and_lets_one_through_at_a_time() {
    let client: Arc<dyn Client> = Arc::new(Fake::new());
    let (gate, stop) = (Gate::closed(), CancellationToken::new());
    let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
    start_gated(client.clone(), Config::default(), clock, gate.clone(), stop.clone());
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {
            "replicas": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
        },
    });
    let create =
        Op::Create { kind: kinds::DEPLOYMENT.handle(), namespace: "default".into(), sub: None, object };
    client.write_one(create).await.expect("created");
    let count = async |kind| client.list(&Interest::all(kind)).await.expect("a list").0.len();
    // On paused time a sleep ends when nobody else has anything to do.
    let rest = || tokio::time::sleep(Duration::from_secs(1));

    rest().await;
    assert_eq!(count(&kinds::REPLICA_SET).await, 0);
    let held = gate.held();
    let shown: Vec<_> = held.iter().map(|plan| (plan.controller.as_str(), plan.key.to_string())).collect();
    assert_eq!(shown, [("deployment-controller", "deployments.apps/default/web".to_owned())]);
    let actions: Vec<String> = held[0].actions.iter().map(ToString::to_string).collect();
    assert!(actions[0].starts_with("create replicasets.apps/default/web-"), "{actions:?}");

    gate.step(1);
    rest().await;
    assert_eq!((count(&kinds::REPLICA_SET).await, count(&kinds::POD).await), (1, 0), "one plan and no more");
    let of_set =
        gate.held().into_iter().find(|plan| plan.controller == "replicaset-controller").expect("held");
    let actions: Vec<String> = of_set.actions.iter().map(ToString::to_string).collect();
    assert_eq!(actions, ["create 10 pods"], "the plan as a whole");

    gate.reopen();
    rest().await;
    assert_eq!(count(&kinds::POD).await, 10);
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_would_be_removed_is_shown_first() {
    let fake = Fake::new();
    let client: Arc<dyn Client> = Arc::new(fake.clone());
    let (gate, stop) = (Gate::closed(), CancellationToken::new());
    let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).expect("a time"));
    start_gated(client.clone(), Config::default(), clock, gate.clone(), stop.clone());
    let lost = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone-uid"}]);
    let going = json!({"name": "going", "deletionTimestamp": "2027-01-15T07:59:00Z"});
    let objects = [
        (&kinds::NAMESPACE, "", json!({"metadata": going, "spec": {"finalizers": ["kubernetes"]}})),
        (&kinds::CONFIG_MAP, "going", json!({"metadata": {"name": "inside"}})),
        (&kinds::CONFIG_MAP, "default", json!({"metadata": {"name": "left", "ownerReferences": lost}})),
    ];
    for (kind, namespace, mut object) in objects {
        object["metadata"]["namespace"] = json!(namespace);
        let create = Op::Create { kind: kind.handle(), namespace: namespace.into(), sub: None, object };
        client.write_one(create).await.expect("created");
    }
    let count = async || client.list(&Interest::all(&kinds::CONFIG_MAP)).await.expect("a list").0.len();
    let rest = || tokio::time::sleep(Duration::from_secs(1));

    rest().await;
    let held = gate.held();
    let shown: Vec<String> = held
        .iter()
        .flat_map(|plan| plan.actions.iter().map(|action| format!("{}: {action}", plan.controller)))
        .collect();
    let expected = [
        "garbage-collector-controller: delete configmaps/default/left",
        "namespace-controller: delete configmaps/going/inside",
    ];
    assert_eq!((shown, count().await), (expected.map(str::to_owned).to_vec(), 2));

    gate.reopen();
    rest().await;
    assert_eq!(count().await, 0);
    let lets_go = |write: &Write| matches!(write.op, Op::Update { sub: Some("finalize"), .. });
    assert!(fake.writes().iter().any(lets_go), "the namespace itself is let go");
    stop.cancel();
}
