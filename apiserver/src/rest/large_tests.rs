//! That nothing is printed from much on the threads that serve everybody, and that one user's large work leaves room for the others'.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use coracle_api::kinds;
use coracle_client::clock::Clock;
use http::Request;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::{handle, metrics};
use crate::auth::authenticate::Authenticator;
use crate::auth::authorize::Authorizer;
use crate::http::connection::{Connection, Peer};
use crate::identity::{AUTHENTICATED, Identity, MASTERS};
use crate::large::SHARE;
use crate::lines::Lines;
use crate::pki::Pki;
use crate::registry::Registry;
use crate::store::{Bounds, Memory};
use crate::write::operation::{Body as Written, Context, Operation};

const MAP: &str = "/api/v1/namespaces/default/configmaps/big";

struct Bench {
    registry: Arc<Registry>,
    app: Arc<App>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// A server without network, store on disk and time of its own, which holds one large object.
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds::default();
        let registry = Registry::open(Box::new(Memory::new(bounds)), bounds, Clock::system()).await.unwrap();
        registry.ensure_system_objects("127.0.0.1:1".parse().unwrap()).await;
        let pki = Pki::open(dir.path(), Clock::system()).unwrap();
        let app = Arc::new(App {
            peers: Default::default(),
            body_time: Duration::from_secs(60),
            registry: registry.clone(),
            verdicts: Arc::default(),
            authenticator: Authenticator::new(pki.accounts().clone(), registry.clone(), false),
            authorizer: Authorizer::new(registry.clone()),
            lines: Lines::default(),
            stop: CancellationToken::new(),
            metrics: metrics::Metrics::default(),
            checks: Default::default(),
            openapi: crate::discovery::OpenApi::default(),
        });
        let bench = Bench { registry, app, _dir: dir };
        for n in 0..2 {
            let data = json!({"n": n.to_string(), "large": "x".repeat(100_000)});
            let body = Written::Tree(json!({"metadata": {"name": "big"}, "data": data}));
            let key = coracle_api::Key::new(&kinds::CONFIG_MAP, "default", "big");
            let operation = match n {
                0 => Operation::Create {
                    kind: kinds::CONFIG_MAP.handle(),
                    namespace: "default".into(),
                    sub: None,
                    body,
                },
                _ => Operation::Update { key, sub: None, body },
            };
            bench.registry.perform(Context::of(admin("setup")), operation).await.result.unwrap();
        }
        bench
    }

    /// What a user is told, by code and as text.
    async fn ask(&self, user: &str, method: &str, path: &str, accept: &str, body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path).header("Host", "x");
        if !accept.is_empty() {
            request = request.header("Accept", accept);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let peer = Peer::Known(admin(user).into());
        request.extensions_mut().insert(Connection { peer, ..Connection::default() });
        let response = handle::handle(&self.app, request).await;
        let code = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn admin(name: &str) -> Identity {
    Identity::new(name, &[MASTERS, AUTHENTICATED])
}

#[tokio::test]
async fn what_is_printed_from_much_waits_for_its_users_slots() {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let bench = Bench::new().await;
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(bench.registry.large().slot(&admin("busy")).await.unwrap());
    }
    let posted = json!({"metadata": {"name": "other"}, "data": {"large": "x".repeat(100_000)}}).to_string();
    let changes = "/coracle/v1/changes?fields=true&kind=configmaps&name=big";
    let cases = [
        ("GET", MAP.to_owned(), "application/yaml", ""),
        ("GET", MAP.to_owned(), TABLE, ""),
        ("GET", MAP.to_owned(), METADATA, ""),
        ("GET", format!("{MAP}?pretty=true"), "application/json", ""),
        ("GET", "/api/v1/configmaps".to_owned(), TABLE, ""),
        ("GET", changes.to_owned(), "", ""),
        ("POST", "/api/v1/namespaces/default/configmaps?dryRun=All".to_owned(), "", posted.as_str()),
    ];
    for (method, path, accept, body) in &cases {
        // Time stands still only for those who wait for a slot: the others' work is done on threads that do not know.
        tokio::time::pause();
        let busy = bench.ask("busy", method, path, accept, body).await;
        tokio::time::resume();
        assert_eq!(busy.0, 429, "{method} {path} {accept}: {}", busy.1);
        let other = bench.ask("other", method, path, accept, body).await;
        assert!([200, 201].contains(&other.0), "{method} {path} {accept}: {}", other.1);
    }
    // A watch that cannot print an event has missed it, and says so.
    let events = "/api/v1/configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dbig";
    tokio::time::pause();
    let (_, told) = bench.ask("busy", "GET", events, TABLE, "").await;
    tokio::time::resume();
    let event: Value = serde_json::from_str(told.lines().next().unwrap_or_default()).unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(429)), "{told}");
    let (_, told) = bench.ask("other", "GET", events, TABLE, "").await;
    assert!(told.contains("columnDefinitions") && told.lines().count() == 1, "{told}");
    // What is sent as it is stored is not printed, and a delete reads nothing.
    for (method, accept) in [("GET", "application/json"), ("DELETE", "")] {
        let (code, body) = bench.ask("busy", method, MAP, accept, "").await;
        assert_eq!(code, 200, "{method}: {body}");
    }
}

#[tokio::test]
async fn the_change_log_is_told_in_pieces_of_bounded_work() {
    let bench = Bench::new().await;
    let context = Context::of(admin("setup"));
    let updates = 2 * super::changes::MOST_COMPARED / 2_000_000;
    for n in 0..updates {
        let body = Written::Tree(json!({
            "metadata": {"name": "big"}, "data": {"n": format!("again {n}"), "large": "x".repeat(1_000_000)},
        }));
        let key = coracle_api::Key::new(&kinds::CONFIG_MAP, "default", "big");
        bench
            .registry
            .perform(context.clone(), Operation::Update { key, sub: None, body })
            .await
            .result
            .unwrap();
    }
    let (mut since, mut told, mut pieces) = (0, 0, 0);
    loop {
        let path = format!("/coracle/v1/changes?fields=true&kind=configmaps&name=big&since={since}");
        let (code, body) = bench.ask("other", "GET", &path, "", "").await;
        assert_eq!(code, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        let items = page["items"].as_array().unwrap();
        let Some(last) = items.last() else { break };
        since = last["revision"].as_u64().unwrap();
        told += items.len();
        pieces += 1;
    }
    assert_eq!((told, pieces > 1), (updates + 2, true), "{pieces} pieces");
}
