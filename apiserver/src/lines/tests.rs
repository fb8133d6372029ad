use std::net::SocketAddr;

use bytes::Bytes;
use coracle_api::{Key, Kind, Status, kinds};
use coracle_client::channel::channel;
use coracle_client::join::join;
use coracle_client::line::{Attach, Frame, GrpcLines, Lines as Way, Logs, STDOUT, What};
use coracle_client::{Op, Write};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::path::Target;
use crate::http::query::Query;
use crate::identity::Identity;
use crate::server::{Config, Server};

fn logs_of(pod: &str) -> Open {
    Open { pod: pod.into(), what: Some(What::Logs(Logs::default())), ..Open::default() }
}

/// An agent that answers each request with the pod's name and then ends the session.
async fn echo(way: Arc<dyn Way>, node: &'static str) {
    let mut orders = way.connect(node).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(order)) = orders.next().await {
            let session = way.attend(node, order.session).await.unwrap();
            session.send.send(Frame::Accepted).await.unwrap();
            let data = Bytes::from(order.pod);
            session.send.send(Frame::Data { channel: STDOUT, data }).await.unwrap();
            session.send.send(Frame::Closed(None)).await.unwrap();
        }
    });
}

async fn ask(lines: &Lines, node: &str) -> Vec<Frame> {
    let mut session = lines.open(node, logs_of("web")).await.unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = session.receive.recv().await {
        frames.push(frame);
    }
    frames
}

fn answer() -> Vec<Frame> {
    let data = Frame::Data { channel: STDOUT, data: Bytes::from_static(b"web") };
    vec![Frame::Accepted, data, Frame::Closed(None)]
}

#[tokio::test]
async fn sessions_go_within_the_process_and_over_the_network_alike() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
    let lines = server.lines();
    echo(Arc::new(lines.clone()), "near").await;
    assert_eq!(ask(&lines, "near").await, answer());

    let url = format!("https://{}", server.address());
    let token = server.pki().make_bootstrap_token(None).unwrap();
    let refused = join(&url, server.pki().ca(), "far", "abcdef.0123456789abcdef").await.unwrap_err();
    assert!(refused.is("Unauthorized"), "{refused:?}");
    // The first of several servers is away: the next is dialled, over TLS as ever.
    let several = format!("https://127.0.0.1:1,{url}");
    let credentials = join(&several, server.pki().ca(), "far", &token).await.unwrap();
    let way = GrpcLines::over(channel(&credentials).unwrap());
    assert!(way.connect("near").await.is_err(), "a node speaks for itself only");
    echo(Arc::new(way), "far").await;
    assert_eq!(ask(&lines, "far").await, answer());
    let taken = join(&url, server.pki().ca(), "far", &token).await.unwrap_err();
    assert!(taken.is("Conflict"), "the name of a node whose agent is there: {taken:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_token_does_not_buy_the_name_of_a_node_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
    let (url, ca) = (format!("https://{}", server.address()), server.pki().ca());
    let token = server.pki().make_bootstrap_token(None).unwrap();
    let node = |ready: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    };
    let master = server.client("test", &["system:masters"]);
    let kind = kinds::NODE.handle();
    let make = Op::Create { kind, namespace: String::new(), sub: None, object: node("True") };
    master.write_one(make).await.unwrap();
    for (ready, expected) in [("True", Some("Conflict")), ("Unknown", None)] {
        let status = Op::merge_status(Key::new(&kinds::NODE, "", "n1"), node(ready));
        master.write_one(status).await.unwrap();
        let outcome = join(&url, ca, "n1", &token).await;
        match (&outcome, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) => assert!(error.is(reason), "{ready}: {error:?}"),
            _ => panic!("{ready}: {outcome:?}"),
        }
    }
    join(&url, ca, "n2", &token).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_away_or_asleep_are_told_apart() {
    let lines = Lines::default();
    let away = lines.open("n", logs_of("web")).await.unwrap_err();
    assert_eq!(away, LineError::NotConnected("n".into()));
    let orders = Way::connect(&lines, "n").await.unwrap();
    let asleep = lines.open("n", logs_of("web")).await.unwrap_err();
    assert_eq!(asleep, LineError::NoAnswer("n".into()));
    let gave_up = tokio::time::timeout(std::time::Duration::from_secs(1), lines.open("n", logs_of("web")));
    assert!(gave_up.await.is_err() && lines.0.lock().awaited.is_empty(), "whoever asked has gone");
    let again = Way::connect(&lines, "n").await.unwrap();
    drop(orders);
    assert!(lines.is_connected("n"), "the end of the old connection is not the end of the new one");
    drop(again);
    assert!(!lines.is_connected("n"));
    assert!(Way::attend(&lines, "n", 1).await.is_err(), "nobody waits for it");
}

/// What a client of SPDY is told that asks for a session with the container of the pod `web`, and whether as a `Status`.
async fn answer_to(server: &Server, sub: &str, query: &str) -> (u16, String, bool) {
    let app = session::App {
        peers: Default::default(),
        registry: server.registry(),
        lines: server.lines(),
        stop: CancellationToken::new(),
        user: Identity::new("u", &["system:masters"]).into(),
    };
    let request = http::Request::builder().header("Connection", "Upgrade").header("Upgrade", "SPDY/3.1");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let target = Target {
        kind: kinds::POD.handle(),
        namespace: Some("default".into()),
        name: Some("web".into()),
        sub: Some(sub.into()),
        rest: String::new(),
        watch: false,
    };
    match serve::answer(&app, &target, &Query::parse(query), &mut parts).await {
        Ok(response) => {
            let code = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (code, String::from_utf8(body.to_vec()).unwrap(), false)
        }
        Err(status) => (status.code, status.message, true),
    }
}

#[tokio::test]
async fn whoever_speaks_spdy_is_told_the_reason_before_the_protocol() {
    const NO_SPDY: &str = "SPDY is not served here; clients speak WebSocket (kubectl since 1.30)";
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap();
    let admin = server.client("admin", &["system:masters"]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "near"}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"nodeName": "near", "containers": [{"name": "web", "image": "i"}]},
    });
    let create = |kind: &'static Kind, namespace: &str, object: Value| {
        Write::from(Op::Create { kind: kind.handle(), namespace: namespace.into(), sub: None, object })
    };
    let writes = vec![
        create(&kinds::NODE, "", node),
        create(&kinds::SERVICE_ACCOUNT, "default", account),
        create(&kinds::POD, "default", pod),
    ];
    for outcome in admin.write(writes).await.unwrap() {
        outcome.unwrap();
    }
    for sub in ["exec", "attach"] {
        let query = "stdout=true&command=true";
        let plain = |code: u16, text: &str| (code, text.to_owned(), false);
        // Clients would read an empty `Status` from this text, and show nothing.
        let away = (500, "Internal error occurred: node \"near\" is not connected".to_owned(), true);
        assert_eq!(answer_to(&server, sub, query).await, away, "{sub}");
        let crashed = agent(server.lines(), false).await;
        let gone = plain(500, "container not found (\"web\")");
        assert_eq!(answer_to(&server, sub, query).await, gone, "{sub}");
        let nothing = plain(400, "you must specify at least 1 of stdin, stdout, stderr");
        assert_eq!(answer_to(&server, sub, "command=true").await, nothing, "{sub}");
        let other = (400, "container other is not valid for pod web".to_owned(), true);
        assert_eq!(answer_to(&server, sub, "container=other").await, other, "{sub}");
        crashed.abort();
        let runs = agent(server.lines(), true).await;
        assert_eq!(answer_to(&server, sub, query).await, (400, NO_SPDY.to_owned(), true), "{sub}");
        runs.abort();
        while server.lines().is_connected("near") {
            tokio::task::yield_now().await;
        }
    }
    server.shutdown().await;
}

/// The agent of a node whose container runs, or does not. Nothing may be run for somebody who cannot follow it.
async fn agent(way: Lines, runs: bool) -> tokio::task::JoinHandle<()> {
    let mut orders = Way::connect(&way, "near").await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(order)) = orders.next().await {
            let session = Way::attend(&way, "near", order.session).await.unwrap();
            let gone =
                Status::failure(500, "InternalError", format!("container not found ({:?})", order.container));
            let frame = if runs { Frame::Accepted } else { Frame::Closed(Some(Box::new(gone))) };
            assert_eq!(order.user, "u", "the agent counts the sessions of each user");
            assert!(!runs || order.what == Some(What::Attach(Attach::default())), "{order:?}");
            session.send.send(frame).await.unwrap();
        }
    })
}
