//! One suite for both clients: a component cannot tell which one it holds.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::grpc::Grpc;
use coracle_client::{Event, Informers, Interest, Op, Write};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::server::{Config, Server};
use crate::store::Bounds;

const LONG: Duration = Duration::from_secs(20);

async fn start(dir: &std::path::Path, port: u16, count: usize) -> Server {
    let mut config = Config::new(dir, SocketAddr::from(([127, 0, 0, 1], port)));
    config.bounds = Bounds { count, ..Bounds::default() };
    Server::start(config).await.unwrap()
}

/// The same server by both ways.
fn both(server: &Server) -> [(&'static str, Arc<dyn Client>); 2] {
    let url = format!("https://{}", server.address());
    let credentials = server.pki().admin(&url).unwrap();
    let local = server.client("kubernetes-admin", &["system:masters", "system:authenticated"]);
    [("local", local), ("grpc", Arc::new(Grpc::new(&credentials).unwrap()))]
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data})
}

fn create(name: &str) -> Op {
    let object = map(name, json!({"a": "1"}));
    Op::Create { kind: kinds::CONFIG_MAP.handle(), namespace: "default".into(), sub: None, object }
}

fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

async fn next(events: &mut BoxStream<'static, Result<Event, Error>>) -> Result<Event, Error> {
    loop {
        let event = timeout(LONG, events.next()).await.expect("an event in time").expect("the watch goes on");
        match event {
            Ok(Event::Bookmark(_)) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn objects_are_written_read_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), 0, 1000).await;
    for (name, client) in both(&server) {
        let since = client.list(&Interest::all(&kinds::CONFIG_MAP)).await.unwrap().1;
        let interest =
            Interest::all(&kinds::CONFIG_MAP).within("default").where_fields(format!("metadata.name={name}"));
        let mut events = client.watch(vec![interest.clone()], since).await.unwrap();

        let made = client.write_one(create(name)).await.unwrap();
        assert_eq!(client.get(&key(name)).await.unwrap().unwrap().json, made.json, "{name}");
        assert_eq!(client.list(&interest).await.unwrap().0.len(), 1, "{name}");
        assert!(client.get(&key("nowhere")).await.unwrap().is_none(), "{name}");

        // One item that fails leaves the other as it is.
        let mut stale = made.value().unwrap();
        stale["metadata"]["resourceVersion"] = json!("1");
        let batch = vec![
            Write::from(Op::Update { key: key(name), sub: None, object: stale }),
            Write::from(Op::merge(key(name), json!({"data": {"a": "2"}}))),
            Write::from(create(name)),
            Write::from(Op::merge(key("nowhere"), json!({"data": {}}))),
        ];
        let outcomes = client.write(batch).await.unwrap();
        let said: Vec<_> =
            outcomes.iter().map(|o| o.as_ref().map(|_| ()).map_err(|s| s.reason.as_str())).collect();
        assert_eq!(said, [Err("Conflict"), Ok(()), Err("AlreadyExists"), Err("NotFound")], "{name}");
        let gone = client.write_one(Op::delete_key(key(name))).await.unwrap();

        let Event::Added(added) = next(&mut events).await.unwrap() else { panic!("{name}: not added") };
        assert_eq!((&added.json, added.revision), (&made.json, made.revision), "{name}");
        assert!(matches!(next(&mut events).await.unwrap(), Event::Modified(_)), "{name}");
        let Event::Deleted(deleted) = next(&mut events).await.unwrap() else { panic!("{name}: not deleted") };
        assert_eq!(deleted.revision, gone.revision, "{name}");

        // The same again from the middle.
        let mut events = client.watch(vec![interest], made.revision).await.unwrap();
        assert!(matches!(next(&mut events).await.unwrap(), Event::Modified(_)), "{name}");

        let pod = Key::new(&kinds::POD, "default", name);
        client.report(vec![(pod.clone(), json!({"fits": name}))]).await.unwrap();
        assert_eq!(server.verdicts().get(&pod), Some(json!({"fits": name})));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_revision_that_is_no_longer_kept_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), 0, 10).await;
    for (name, client) in both(&server) {
        let since = client.write_one(create(name)).await.unwrap().revision;
        for n in 0..40 {
            client.write_one(Op::merge(key(name), json!({"data": {"a": n.to_string()}}))).await.unwrap();
        }
        let interests = vec![Interest::all(&kinds::CONFIG_MAP)];
        let error = match client.watch(interests, since).await {
            Err(error) => error,
            Ok(mut events) => next(&mut events).await.unwrap_err(),
        };
        assert!(matches!(error, Error::Expired { since: at } if at == since), "{name}: {error:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn informers_go_on_when_the_server_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), 0, 1000).await;
    let port = server.address().port();
    let [_, (_, client)] = both(&server);
    let informers = Informers::new(client.clone());
    let maps = informers.store::<ConfigMap>();
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (informers, cancel) = (informers.clone(), cancel.clone());
        async move { informers.run(cancel).await }
    });
    timeout(LONG, informers.synced()).await.unwrap().unwrap();
    let before = client.write_one(create("before")).await.unwrap();
    timeout(LONG, informers.wait_for(before.revision)).await.unwrap().unwrap();
    server.shutdown().await;
    drop(server);

    let server = start(dir.path(), port, 1000).await;
    let [(_, local), _] = both(&server);
    let after = local.write_one(create("after")).await.unwrap();
    timeout(LONG, informers.wait_for(after.revision)).await.unwrap().unwrap();
    assert!(maps.get("default", "before").is_some() && maps.get("default", "after").is_some());
    cancel.cancel();
    running.await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn strangers_are_refused_and_nodes_write_only_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), 0, 1000).await;
    let url = format!("https://{}", server.address());
    let bob = server.pki().credentials(&url, "bob", None).unwrap();
    let error = Grpc::new(&bob).unwrap().get(&key("x")).await.unwrap_err();
    assert!(error.is("Forbidden"), "{error:?}");

    let node = server.pki().credentials(&url, "system:node:n1", Some("system:nodes")).unwrap();
    let node: Arc<dyn Client> = Arc::new(Grpc::new(&node).unwrap());
    let make = |name: &str| Op::Create {
        kind: kinds::NODE.handle(),
        namespace: String::new(),
        sub: None,
        object: json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
    };
    node.write_one(make("n1")).await.unwrap();
    let error = node.write_one(make("n2")).await.unwrap_err();
    assert!(error.is("Forbidden"), "{error:?}");
    // Nobody writes in another's name, nor because of what has not happened.
    for (part, actor) in [("kubernetes-admin", "system:node:n1"), ("kubelet", "kubelet, n1")] {
        let op = Op::merge(Key::new(&kinds::NODE, "", "n1"), json!({"metadata": {"labels": {"by": part}}}));
        let write = Write { op, causes: vec![Revision(1), Revision(1 << 40)], actor: part.into() };
        let written = node.write(vec![write]).await.unwrap().remove(0).unwrap();
        let (_, changes) = server.registry().changes(Some(&kinds::NODE), Revision(written.revision.0 - 1));
        assert_eq!((changes[0].actor.as_str(), changes[0].causes.as_slice()), (actor, &[Revision(1)][..]));
    }
    let secret = Key::new(&kinds::SECRET, "default", "s");
    let error = node.get(&secret).await.unwrap_err();
    assert!(error.is("Forbidden"), "{error:?}");
    let error = node.list(&Interest::all(&kinds::SECRET)).await.unwrap_err();
    assert!(error.is("Forbidden"), "{error:?}");
    server.shutdown().await;
}
