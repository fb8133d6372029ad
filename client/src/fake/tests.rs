use coracle_api::kinds;
use serde_json::json;

use super::*;
use crate::Op;

fn fake() -> (Fake, Arc<dyn Client>) {
    let fake = Fake::with_clock(Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    (fake.clone(), Arc::new(fake))
}

fn pod(name: &str, node: &str, app: &str) -> Op {
    let meta = json!({"name": name, "namespace": "ns", "labels": {"app": app}});
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": node}});
    Op::Create { kind: kinds::POD.handle(), namespace: "ns".into(), sub: None, object }
}

fn key(name: &str) -> Key {
    Key::new(&kinds::POD, "ns", name)
}

async fn value(client: &Arc<dyn Client>, name: &str) -> Value {
    client.get(&key(name)).await.unwrap().map(|object| object.value().unwrap()).unwrap_or_default()
}

/// What is refused, by its code; 0 for what is done.
async fn code(client: &Arc<dyn Client>, op: Op) -> u16 {
    match client.write_one(op).await {
        Ok(_) => 0,
        Err(Error::Refused(status)) => status.code,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn preconditions_hold() {
    let (_, client) = fake();
    client.write_one(pod("x", "n", "a")).await.unwrap();
    let stale = json!({"metadata": {"resourceVersion": "999"}});
    let other = json!({"metadata": {"uid": "other"}});
    let delete = |uid: Option<&str>, revision: Option<u64>| Op::Delete {
        key: key("x"),
        uid: uid.map(str::to_owned),
        revision: revision.map(Revision),
        grace_seconds: Some(0),
        propagation: None,
    };
    let cases = [
        ("a patch of another revision", Op::merge(key("x"), stale.clone()), 409),
        ("a patch of another uid", Op::strategic_status(key("x"), other.clone()), 409),
        ("an update of another revision", Op::Update { key: key("x"), sub: None, object: stale }, 409),
        ("a bind of a bound pod", Op::bind(&key("x"), "uid-1", "m"), 409),
        ("a bind of a namesake", Op::bind(&key("x"), "other", "m"), 409),
        ("a delete of a namesake", delete(Some("other"), None), 409),
        ("a delete of another revision", delete(None, Some(999)), 409),
        ("nothing is there", Op::delete_key(key("y")), 404),
        ("the very one", delete(Some("uid-1"), Some(1)), 0),
    ];
    for (case, op, expected) in cases {
        assert_eq!(code(&client, op).await, expected, "case: {case}");
    }
    assert!(value(&client, "x").await.is_null());
}

/// Whatever the write: a create, an update, a patch. A part that the write does not change is not looked at.
#[tokio::test]
async fn a_range_of_pods_addresses_has_one_holder() {
    let (_, client) = fake();
    let node = |name: &str, ranges: &[&str]| {
        let meta = json!({"name": name});
        json!({"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"podCIDRs": ranges}})
    };
    let create = |name: &str, ranges: &[&str]| Op::Create {
        kind: kinds::NODE.handle(),
        namespace: String::new(),
        sub: None,
        object: node(name, ranges),
    };
    let key = || Key::new(&kinds::NODE, "", "b");
    let update =
        |sub: Option<&'static str>, range: &str| Op::Update { key: key(), sub, object: node("b", &[range]) };
    let (taken, free) = ("10.0.1.0/24", "10.0.2.0/24");
    let cases = [
        ("the first", create("a", &[taken]), 0),
        ("a create", create("b", &[taken]), 422),
        ("without a range", create("b", &[]), 0),
        ("a patch", Op::merge(key(), json!({"spec": {"podCIDRs": [taken]}})), 422),
        ("an update", update(None, taken), 422),
        ("an update of the status", update(Some("status"), taken), 0),
        ("a patch of the status", Op::merge_status(key(), json!({"spec": {"podCIDRs": [taken]}})), 0),
        ("an update to a free one", update(None, free), 0),
    ];
    for (case, op, expected) in cases {
        assert_eq!(code(&client, op).await, expected, "case: {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn pods_go_gracefully_and_may_be_hurried() {
    let (_, client) = fake();
    client.write_one(pod("x", "n", "a")).await.unwrap();
    let due = |pod: &Value| {
        let meta = &pod["metadata"];
        (meta["deletionTimestamp"].clone(), meta["deletionGracePeriodSeconds"].clone())
    };
    client.write_one(Op::delete_key(key("x"))).await.unwrap();
    assert_eq!(due(&value(&client, "x").await), (json!("2026-01-01T00:00:30Z"), json!(30)));
    client.write_one(Op::delete_key(key("x")).with_grace(60)).await.unwrap();
    assert_eq!(due(&value(&client, "x").await), (json!("2026-01-01T00:00:30Z"), json!(30)));
    client.write_one(Op::delete_key(key("x")).with_grace(5)).await.unwrap();
    assert_eq!(due(&value(&client, "x").await), (json!("2026-01-01T00:00:05Z"), json!(5)));
    client.write_one(Op::delete_key(key("x")).with_grace(0)).await.unwrap();
    assert!(value(&client, "x").await.is_null());
    client.write_one(pod("unbound", "", "a")).await.unwrap();
    client.write_one(Op::delete_key(key("unbound"))).await.unwrap();
    assert!(value(&client, "unbound").await.is_null(), "nobody has to be waited for");
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold() {
    let (_, client) = fake();
    let meta = json!({"name": "m", "namespace": "ns", "finalizers": ["a/b"]});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
    let kind = kinds::CONFIG_MAP.handle();
    client
        .write_one(Op::Create { kind: kind.clone(), namespace: "ns".into(), sub: None, object })
        .await
        .unwrap();
    let key = Key::new(kind, "ns", "m");
    client.write_one(Op::delete_key(key.clone())).await.unwrap();
    assert!(client.get(&key).await.unwrap().is_some());
    client.write_one(Op::merge(key.clone(), json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(client.get(&key).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn selectors_select() {
    let (_, client) = fake();
    for op in [pod("x", "n", "a"), pod("y", "m", "a"), pod("z", "n", "b")] {
        client.write_one(op).await.unwrap();
    }
    let all = Interest::all(&kinds::POD);
    let cases = [
        (all.clone(), "x y z"),
        (all.clone().where_fields("spec.nodeName=n"), "x z"),
        (all.clone().labelled("app=a").where_fields("spec.nodeName=n"), "x"),
        (all.clone().where_fields("metadata.name=y"), "y"),
        (all.clone().within("other"), ""),
    ];
    for (interest, expected) in cases {
        let (found, _) = client.list(&interest).await.unwrap();
        let names: Vec<&str> = found.iter().map(|object| object.key.name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "interest: {interest:?}");
    }
    assert!(client.list(&all.clone().where_fields("spec.nothing=n")).await.is_err());

    let interest = all.labelled("app=a");
    let mut events = client.watch(vec![interest], Revision(0)).await.unwrap();
    let label = |name: &str, app: &str| Op::merge(key(name), json!({"metadata": {"labels": {"app": app}}}));
    for op in [label("z", "a"), label("x", "b"), label("x", "b"), label("y", "a")] {
        client.write_one(op).await.unwrap();
    }
    let mut seen = Vec::new();
    while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
        seen.push(match event.unwrap() {
            Event::Added(object) => format!("+{}", object.key.name),
            Event::Modified(object) => format!("~{}", object.key.name),
            Event::Deleted(object) => format!("-{}@{}", object.key.name, object.revision.0),
            Event::Bookmark(_) => "b".into(),
        });
    }
    assert_eq!(seen, ["+x", "+y", "+z", "-x@5"], "what changes nothing is no change");
}

#[tokio::test(start_paused = true)]
async fn conditions_are_merged_one_by_one() {
    let (_, client) = fake();
    client.write_one(pod("x", "n", "a")).await.unwrap();
    let condition =
        |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
    for patch in [condition("A", "True"), condition("B", "True"), condition("A", "False")] {
        client.write_one(Op::strategic_status(key("x"), patch)).await.unwrap();
    }
    let shown = value(&client, "x").await["status"]["conditions"].clone();
    let mut shown: Vec<String> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}={}", one["type"].as_str().unwrap(), one["status"].as_str().unwrap()))
        .collect();
    shown.sort();
    assert_eq!(shown, ["A=False", "B=True"]);
}
