//! The face for people, through real TLS and real HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_client::clock::Clock;
use coracle_client::kubeconfig::Credentials;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::{Config, Server};
use crate::store::disk::faulty::Faulty;
use crate::store::{Bounds, Embedded};

pub(super) async fn connect(server: &Server, user: Option<&Credentials>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.pki().ca().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match user {
        Some(user) => {
            let certificate = CertificateDer::from_pem_slice(user.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(user.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::IpAddress(server.address().ip().into());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Asks without credentials: the status line's code, and the body.
pub(super) async fn get(server: &Server, path: &str) -> (u16, String) {
    get_as(server, path, None).await
}

/// The same as one who may do everything.
pub(super) async fn get_as_admin(server: &Server, path: &str) -> (u16, String) {
    let admin = server.pki().admin(&format!("https://{}", server.address())).unwrap();
    get_as(server, path, Some(&admin)).await
}

pub(super) async fn get_as(server: &Server, path: &str, user: Option<&Credentials>) -> (u16, String) {
    ask(server, user, "GET", path, "").await
}

pub(super) async fn ask(
    server: &Server,
    user: Option<&Credentials>,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = connect(server, user).await;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn without_credentials_the_flag_decides() {
    for (anonymous_auth, refusal) in [(false, 401), (true, 403)] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let server = Server::start(Config { anonymous_auth, ..config }).await.unwrap();
        for path in ["/healthz", "/livez", "/readyz", "/version"] {
            assert_eq!(get(&server, path).await.0, 200, "{path} with {anonymous_auth}");
        }
        for path in ["/api", "/api/v1/pods", "/nope", "/.well-known/openid-configuration"] {
            let (code, body) = get(&server, path).await;
            assert_eq!(code, refusal, "{path} with {anonymous_auth}: {body}");
            let status: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status["code"], refusal);
        }
        let below = if anonymous_auth { 403 } else { 200 };
        assert_eq!(get(&server, "/livez/ping").await.0, below);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_watch_from_the_future_is_told_so_after_a_while_and_bad_requests_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(config).await.unwrap();
    let path = "/api/v1/configmaps?watch=true&resourceVersion=99999999";
    let (code, body) = get_as_admin(&server, &format!("{path}&timeoutSeconds=1")).await;
    assert_eq!((code, body.contains("type")), (200, false), "nothing comes until the revision has: {body}");
    let over = get_as_admin(&server, "/api/v1/configmaps?watch=true&timeoutSeconds=-1").await;
    assert_eq!(over.0, 200, "a time below zero is over at once: {}", over.1);
    let mut stream = connect(&server, None).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("missing required Host header"), "{told}");
    for more in ["", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"] {
        let (code, body) = get_as_admin(&server, &format!("{path}&timeoutSeconds=20{more}")).await;
        let line = body.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let status = &event["object"];
        assert_eq!((code, &event["type"], &status["code"]), (200, &"ERROR".into(), &504.into()), "{body}");
        assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        assert_eq!(status["details"]["retryAfterSeconds"], 1);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_reads_and_deletes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let (disk, bounds) = (Faulty::new(1), Bounds { disk_bytes: 1 << 20, ..Bounds::default() });
    let store = Embedded::on(Arc::new(disk.clone()), "/data", bounds, Clock::system());
    let server = Server::start_on(config, Box::new(store)).await.unwrap();
    let admin = server.pki().admin(&format!("https://{}", server.address())).unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let create = async |name: &str| {
        let body = json!({"metadata": {"name": name}, "data": {"a": "x".repeat(4000)}}).to_string();
        ask(&server, Some(&admin), "POST", maps, &body).await
    };
    assert_eq!(create("first").await.0, 201);
    assert_eq!(get(&server, "/readyz").await.0, 200);
    disk.leave_room(0);
    let refused = loop {
        let (code, body) = create(&format!("m{}", rand::random::<u64>())).await;
        if code != 201 {
            break (code, body);
        }
    };
    let status: serde_json::Value = serde_json::from_str(&refused.1).unwrap();
    assert_eq!(
        (refused.0, &status["reason"], &status["code"]),
        (507, &json!("InsufficientStorage"), &json!(507))
    );
    let text = status["message"].as_str().unwrap();
    assert!(
        text.starts_with("no room is left on the disk for /data: ") && text.contains("deleted"),
        "{text}"
    );
    let (code, page) = get(&server, "/readyz").await;
    assert!(code == 500 && page.contains("[-]store failed: reason withheld"), "{code} {page}");
    assert_eq!(get_as_admin(&server, &format!("{maps}/first")).await.0, 200, "reads go on");
    let deleted = ask(&server, Some(&admin), "DELETE", &format!("{maps}/first"), "").await;
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    disk.heal();
    let ready = async { while get(&server, "/readyz").await.0 != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ready).await.expect("ready by itself");
    assert_eq!(create("first").await.0, 201);
    server.shutdown().await;
}
