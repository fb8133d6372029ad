//! What is authorized is what is served, however a path is written.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use coracle_api::{Key, KindRef, kinds};
use coracle_client::Clock;
use http::{Method, Request};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::handle::handle;
use crate::auth::attributes::Attributes;
use crate::auth::authenticate::Authenticator;
use crate::auth::authorize::Authorizer;
use crate::http::connection::{Connection, Peer};
use crate::http::path;
use crate::http::query::Query;
use crate::identity::{AUTHENTICATED, Identity, MASTERS, NODES};
use crate::pki::Pki;
use crate::registry::Registry;
use crate::store::{Bounds, Memory};
use crate::write::operation::{Body as Given, Context, Operation};

/// What nobody but a master may see.
const MARK: &str = "bm9ib2R5IG1heSBzZWUgdGhpcw==";

pub(super) struct Bench {
    _dir: tempfile::TempDir,
    pub(super) runtime: Runtime,
    pub(super) app: Arc<App>,
}

pub(super) fn bench() -> Bench {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let app = runtime.block_on(async {
        let store = Box::new(Memory::new(Bounds::default()));
        let registry = Registry::open(store, Bounds::default(), Clock::system()).await.unwrap();
        registry.ensure_system_objects("127.0.0.1:1".parse().unwrap()).await;
        let secret = json!({"metadata": {"name": "marked"}, "data": {"mark": MARK}});
        let context = Context::of(Identity::new("test", &[MASTERS]));
        let (kind, namespace) = (&kinds::SECRET, "default".to_owned());
        let create = Operation::Create { kind: kind.into(), namespace, sub: None, body: Given::Tree(secret) };
        registry.perform(context, create).await.result.unwrap();
        assert!(registry.get(&Key::new(&kinds::SECRET, "default", "marked")).is_some());
        let pki = Pki::open(dir.path(), Clock::system()).unwrap();
        Arc::new(App {
            body_time: Duration::from_secs(60),
            verdicts: Default::default(),
            peers: Default::default(),
            authenticator: Authenticator::new(pki.accounts().clone(), registry.clone(), false),
            authorizer: Authorizer::new(registry.clone()),
            lines: Default::default(),
            checks: Default::default(),
            stop: CancellationToken::new(),
            metrics: Default::default(),
            openapi: Default::default(),
            registry,
        })
    });
    Bench { _dir: dir, runtime, app }
}

impl Bench {
    /// The code and the document of an answer; of a watch, which does not end, only the code.
    fn ask(&self, user: &Identity, uri: &str) -> (u16, String) {
        let Ok(mut request) = Request::builder().uri(uri).header("Host", "x").body(Body::empty()) else {
            return (0, String::new());
        };
        request
            .extensions_mut()
            .insert(Connection { peer: Peer::Known(user.clone().into()), ..Connection::default() });
        let answer = async {
            let response = handle(&self.app, request).await;
            let code = response.status().as_u16();
            if code == 200 && attributes(uri).is_some_and(|asked| asked.verb == "watch") {
                return (code, String::new());
            }
            let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
            (code, String::from_utf8_lossy(&body).into_owned())
        };
        let within = Duration::from_secs(10);
        self.runtime
            .block_on(async { tokio::time::timeout(within, answer).await.expect("an answer that ends") })
    }
}

/// What a request is about, as authorization sees it.
fn attributes(uri: &str) -> Option<Attributes> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    Some(Attributes::of(
        &Method::GET,
        &path::read(&coracle_api::kinds::Kinds::new(), path).ok()?,
        &Query::parse(query),
    ))
}

/// Which object, or which objects, an answer shows; `None` where it shows none.
fn shown(answer: &str) -> Option<(KindRef, &'static str, Vec<(String, String)>)> {
    let document: Value = serde_json::from_str(answer).ok()?;
    let kind = document["kind"].as_str()?;
    let key = |object: &Value| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (text("namespace"), text("name"))
    };
    let find = |name: &str| {
        kinds::Kinds::new().served().into_iter().find(|row| row.kind() == name && row.view.is_none())
    };
    if let Some(row) = find(kind) {
        return Some((row, "get", vec![key(&document)]));
    }
    let row = find(kind.strip_suffix("List")?)?;
    Some((row, "list", document["items"].as_array().into_iter().flatten().map(key).collect()))
}

/// A path that leads somewhere, or nearly, in one of many spellings.
fn spelling() -> impl Strategy<Value = String> {
    let paths = prop::sample::select(vec![
        "/api/v1/secrets",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces/default/secrets/marked",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces",
        "/api/v1/watch/secrets",
        "/api/v1/watch/namespaces/default/secrets/marked",
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/default/services/kubernetes/status",
        "/apis/apps/v1/deployments",
        "/api/v1",
        "/coracle/v1/changes",
        "/metrics",
        "/version",
    ]);
    let queries = prop::sample::select(vec![
        "",
        "?watch=1",
        "?watch=False",
        "?watch=0&watch=1",
        "?fieldSelector=metadata.name%3Dmarked",
        "?fieldSelector=metadata.name==kubernetes&watch=no",
    ]);
    let odd = prop::sample::select(vec!["//", "%2F", "%2f", "%252F", "/./", "/../", "/%2e/", "/%2E%2e/"]);
    let slashes = prop_oneof![20 => Just("/"), 1 => odd];
    let letters = prop_oneof![60 => Just(0u8), 5 => Just(1), 5 => Just(2), 1 => Just(3)];
    let how = (prop::collection::vec(slashes, 12), prop::collection::vec(letters, 64));
    (paths, how, queries, any::<bool>()).prop_map(|(path, (slashes, letters), query, slash)| {
        let mut slashes = slashes.into_iter();
        let mut text: String = path
            .chars()
            .zip(letters)
            .map(|(c, how)| match (c, how) {
                ('/', _) => slashes.next().unwrap_or("/").to_owned(),
                (c, 1) => format!("%{:02x}", u32::from(c)),
                (c, 2) => format!("%{:02X}", u32::from(c)),
                ('e', 3) => "%25".to_owned(),
                (c, _) => c.to_string(),
            })
            .collect();
        if !text.starts_with('/') {
            text.insert(0, '/');
        }
        if slash {
            text.push('/');
        }
        text + query
    })
}

#[test]
fn what_is_authorized_is_what_is_served() {
    let bench = bench();
    let admin = Identity::new("kubernetes-admin", &[MASTERS, AUTHENTICATED]);
    let account = Identity::new("system:serviceaccount:default:builder", &[AUTHENTICATED]);
    let node = Identity::new("system:node:n1", &[NODES, AUTHENTICATED]);
    let (served, refused) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1500));
    let outcome = runner.run(&spelling(), |uri| {
        let uri = uri.as_str();
        for user in [&account, &node] {
            let (code, body) = bench.ask(user, uri);
            prop_assert!(!body.contains(MARK), "{} sees the secret at {}", user.user, uri);
            let objects = shown(&body).filter(|(row, ..)| user != &node || row.plural() != "services");
            prop_assert!(objects.is_none(), "{} is shown {:?} at {}", user.user, objects, uri);
            refused.set(refused.get() + usize::from(code == 403));
        }
        let (code, body) = bench.ask(&admin, uri);
        let Some((row, verb, objects)) = shown(&body) else { return Ok(()) };
        prop_assert_eq!(code, 200);
        served.set(served.get() + 1);
        let asked = attributes(uri).expect("what is served has been read");
        prop_assert_eq!(
            (asked.group.as_str(), asked.resource.as_str(), asked.verb.as_str()),
            (row.group(), row.plural(), verb),
            "at {}",
            uri
        );
        for (namespace, name) in objects {
            prop_assert!(!row.namespaced || asked.namespace.is_empty() || asked.namespace == namespace);
            prop_assert!(asked.name.is_empty() || asked.name == name, "at {}", uri);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (served, refused) = (served.get(), refused.get());
    assert!(served > 50 && refused > 200, "{served} served, {refused} refused: the paths are too wild");
}

/// Anybody may ask for `/healthz`, and nobody's body is held for it.
#[test]
fn a_body_that_nobody_reads_is_not_waited_for() {
    let bench = bench();
    for uri in ["/healthz", "/readyz", "/version", "/nowhere", "/apis", "/coracle/v1/changes"] {
        let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let mut request = Request::builder().method(Method::POST).uri(uri).body(endless).unwrap();
        let master = Identity::new("test", &[MASTERS]);
        request
            .extensions_mut()
            .insert(Connection { peer: Peer::Known(master.into()), ..Connection::default() });
        let answer =
            async { tokio::time::timeout(Duration::from_secs(10), handle(&bench.app, request)).await };
        bench.runtime.block_on(answer).expect(uri);
    }
}
