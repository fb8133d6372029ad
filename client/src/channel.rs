//! Connections of gRPC: how a dead one is noticed, and which of several API servers is dialled.
//!
//! ```text
//!  https://a:6443,https://b:6443 --dial--> a, and when that breaks or does not answer, b, then a again
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Error;
use crate::kubeconfig::Credentials;

/// How long one server may take to answer a dial.
const CONNECT: Duration = Duration::from_secs(5);
/// A dead line is noticed within this and [`ALIVE_ANSWER`]. etcd hangs up on clients that ask more often than every five
/// seconds.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_ANSWER: Duration = Duration::from_secs(5);
/// A name that the certificate of every API server bears, whatever its address.
const ANY_SERVER: &str = "kubernetes.default.svc";

/// The same endpoint, whose connections are noticed when they are dead, be they to an API server or to etcd.
pub fn noticing(endpoint: Endpoint) -> Endpoint {
    endpoint
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_ANSWER)
        .keep_alive_while_idle(true)
}

/// A channel to the API server, or to one of several on one store.
///
/// # Errors
/// [`Error::Malformed`] for credentials that are none.
pub fn channel(credentials: &Credentials) -> Result<Channel, Error> {
    open(&credentials.server, &credentials.ca, Some((&credentials.certificate, &credentials.key)))
}

/// A channel to the API server for one who has no certificate yet.
///
/// # Errors
/// [`Error::Malformed`] for a server or an authority that is none.
pub fn anonymous_channel(server: &str, ca: &str) -> Result<Channel, Error> {
    open(server, ca, None)
}

/// `servers`: one URL, or several with commas between them.
fn open(servers: &str, ca: &str, identity: Option<(&String, &String)>) -> Result<Channel, Error> {
    let bad = |server: &str, error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::Malformed(format!("credentials for {server}: {error}{cause}"))
    };
    let urls: Vec<&str> = servers.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    let mut endpoints = Vec::new();
    for url in &urls {
        endpoints.push(Endpoint::from_shared((*url).to_owned()).map_err(|error| bad(url, error))?);
    }
    let first = endpoints.first().cloned();
    let first = first.ok_or_else(|| Error::Malformed("no API server is named".into()))?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let [_] = endpoints[..] {
        let endpoint = first.tls_config(tls).map_err(|error| bad(servers, error))?;
        return Ok(noticing(endpoint.connect_timeout(CONNECT)).connect_lazy());
    }
    let dialled: Result<Vec<String>, Error> = endpoints.iter().map(dialled).collect();
    let dialler = Dialler { servers: dialled?.into(), next: Arc::default() };
    // The dialler sees to the times, one for each server.
    let endpoint = first.tls_config(tls.domain_name(ANY_SERVER)).map_err(|error| bad(servers, error))?;
    Ok(noticing(endpoint).connect_with_connector_lazy(dialler))
}

/// Host and port of a URL.
fn dialled(endpoint: &Endpoint) -> Result<String, Error> {
    let uri = endpoint.uri();
    let bad = || Error::Malformed(format!("{uri} is no URL of an API server, such as https://10.0.0.1:6443"));
    let host = uri.host().ok_or_else(bad)?;
    if uri.scheme_str() != Some("https") {
        return Err(bad());
    }
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(443)))
}

/// Dials several servers in turn. A server whose connection broke is the last to be tried again.
#[derive(Clone)]
struct Dialler {
    servers: Arc<[String]>,
    /// Which is dialled next.
    next: Arc<AtomicUsize>,
}

impl Dialler {
    async fn dial(self) -> io::Result<TokioIo<TcpStream>> {
        let mut told = io::Error::other("no API server is named");
        for _ in 0..self.servers.len() {
            let server = &self.servers[self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len()];
            match tokio::time::timeout(CONNECT, TcpStream::connect(server)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => told = io::Error::new(error.kind(), format!("{server}: {error}")),
                Err(_) => told = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer")),
            }
            tracing::debug!(error = %told, "an API server cannot be reached");
        }
        Err(told)
    }
}

/// What tonic asks for a connection. The address that it names is that of the first server only.
impl Service<Uri> for Dialler {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.clone().dial().boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_no_list_of_servers_is_refused() {
        let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let cases = [
            ("https://127.0.0.1:1", Ok(())),
            ("https://127.0.0.1:1, https://[::1]:2,", Ok(())),
            ("", Err("no API server is named")),
            (" , ", Err("no API server is named")),
            ("https://a:1,b", Err("is no URL of an API server")),
            ("https://a:1,http://b:2", Err("is no URL of an API server")),
            ("https://a:1,https://b c", Err("credentials for https://b c")),
        ];
        for (servers, expected) in cases {
            let got = anonymous_channel(servers, &ca).map(drop).map_err(|error| error.to_string());
            match expected {
                Ok(()) => assert_eq!(got, Ok(()), "{servers:?}"),
                Err(part) => {
                    assert!(got.clone().is_err_and(|text| text.contains(part)), "{servers:?}: {got:?}")
                }
            }
        }
    }

    #[tokio::test]
    async fn the_next_server_is_dialled_where_one_is_away() {
        let (one, two) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = [&one, &away, &two].map(|listener| listener.local_addr().unwrap());
        drop(away);
        let dialler = Dialler { servers: at.iter().map(ToString::to_string).collect(), next: Arc::default() };
        let mut reached = Vec::new();
        for _ in 0..4 {
            let stream = dialler.clone().dial().await.unwrap().into_inner();
            reached.push(stream.peer_addr().unwrap());
        }
        assert_eq!(reached, [at[0], at[2], at[0], at[2]], "each break leads to the next that is there");
        drop((one, two));
        let error = dialler.dial().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }
}
