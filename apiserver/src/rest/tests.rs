//! The face for people, through real TLS and real HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_client::kubeconfig::Credentials;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::{Config, Server};

async fn connect(server: &Server, user: Option<&Credentials>) -> TlsStream<TcpStream> {
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
async fn get(server: &Server, path: &str) -> (u16, String) {
    get_as(server, path, None).await
}

/// The same as one who may do everything.
async fn get_as_admin(server: &Server, path: &str) -> (u16, String) {
    let admin = server.pki().admin(&format!("https://{}", server.address())).unwrap();
    get_as(server, path, Some(&admin)).await
}

async fn get_as(server: &Server, path: &str, user: Option<&Credentials>) -> (u16, String) {
    let mut stream = connect(server, user).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
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
async fn a_watch_from_the_future_is_told_so_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(config).await.unwrap();
    let path = "/api/v1/configmaps?watch=true&resourceVersion=99999999";
    let (code, body) = get_as_admin(&server, &format!("{path}&timeoutSeconds=1")).await;
    assert_eq!((code, body.contains("type")), (200, false), "nothing comes until the revision has: {body}");
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
