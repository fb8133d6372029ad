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
/// [`Error::Credentials`] for a server, an authority, a certificate or a key that cannot be used.
pub fn channel(credentials: &Credentials) -> Result<Channel, Error> {
    open(&credentials.server, &credentials.ca, Some((&credentials.certificate, &credentials.key)))
}

/// A channel to the API server for one who has no certificate yet.
///
/// # Errors
/// [`Error::Credentials`] for a server or an authority that cannot be used.
pub fn anonymous_channel(server: &str, ca: &str) -> Result<Channel, Error> {
    open(server, ca, None)
}

/// `servers`: one URL, or several with commas between them.
fn open(servers: &str, ca: &str, identity: Option<(&String, &String)>) -> Result<Channel, Error> {
    let bad = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::Credentials(format!("{error}{cause}"))
    };
    let urls = servers.split(',').map(str::trim).filter(|url| !url.is_empty());
    let addresses: Vec<String> = urls.clone().map(host_and_port).collect::<Result<_, Error>>()?;
    let first = urls.clone().next().ok_or_else(|| Error::Credentials("no API server is named".into()))?;
    let first = Endpoint::from_shared(first.to_owned()).map_err(bad)?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if addresses.len() > 1 {
        tls = tls.domain_name(ANY_SERVER);
    }
    // The dialler limits the time of each dial. What is left is for the handshake, so that a server which takes the connection
    // and says nothing does not keep us from the next one.
    let in_all = CONNECT * (1 + u32::try_from(addresses.len()).unwrap_or(u32::MAX - 1));
    let dialler = Dialler { servers: addresses.into(), next: Arc::default() };
    let endpoint = first.tls_config(tls).map_err(bad)?.connect_timeout(in_all);
    Ok(noticing(endpoint).connect_with_connector_lazy(dialler))
}

/// Host and port of a URL. A token must not travel in clear, so there is no way to a server but over TLS.
fn host_and_port(url: &str) -> Result<String, Error> {
    let read = url.parse::<Uri>().ok();
    let uri = read.filter(|uri| uri.scheme_str() == Some("https"));
    let host = uri.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
    match (host, &uri) {
        (Some(host), Some(uri)) => Ok(format!("{host}:{}", uri.port_u16().unwrap_or(443))),
        _ => Err(Error::Credentials(format!(
            "{url} is no URL of an API server, such as https://10.0.0.1:6443"
        ))),
    }
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
        let mut last_error = io::Error::other("no API server is named");
        for _ in 0..self.servers.len() {
            let server = &self.servers[self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len()];
            match tokio::time::timeout(CONNECT, TcpStream::connect(server)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => last_error = io::Error::new(error.kind(), format!("{server}: {error}")),
                Err(_) => {
                    last_error = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer"))
                }
            }
            tracing::debug!(error = %last_error, "an API server cannot be reached");
        }
        Err(last_error)
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
        let no_url = |url: &str| format!("{url} is no URL of an API server, such as https://10.0.0.1:6443");
        let cases = [
            ("https://127.0.0.1:1", None),
            ("https://127.0.0.1:1, https://[::1]:2,", None),
            ("", Some("no API server is named".to_owned())),
            (" , ", Some("no API server is named".to_owned())),
            // A token would go out in clear.
            ("http://127.0.0.1:1", Some(no_url("http://127.0.0.1:1"))),
            ("https://a:1,http://b:2", Some(no_url("http://b:2"))),
            ("a:6443", Some(no_url("a:6443"))),
            ("https://a:1,b", Some(no_url("b"))),
            ("https://a:1,https://b c", Some(no_url("https://b c"))),
        ];
        for (servers, expected) in cases {
            let got = anonymous_channel(servers, &ca).map(drop).map_err(|error| error.to_string());
            let expected = expected.map(|why| format!("cannot use the credentials: {why}"));
            assert_eq!(got.err(), expected, "{servers:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_named() {
        let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = away.local_addr().unwrap();
        drop(away);
        let error = crate::join::join(&format!("https://{address}"), &ca, "n", "t").await.unwrap_err();
        let expected =
            format!("the API server cannot be reached: {address}: Connection refused (os error 111)");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_followed_by_the_next() {
        let ca = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let (silent, next) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let url = |listener: &TcpListener| format!("https://{}", listener.local_addr().unwrap());
        let channel = anonymous_channel(&format!("{},{}", url(&silent), url(&next)), &ca).unwrap();
        let mut nodes = coracle_proto::v1::nodes_client::NodesClient::new(channel);
        let calls = async {
            loop {
                nodes.join(coracle_proto::v1::JoinRequest::default()).await.expect_err("nobody speaks");
            }
        };
        tokio::select! {
            () = calls => {}
            dialled = tokio::time::timeout(Duration::from_secs(3600), next.accept()) => {
                dialled.expect("it is dialled").unwrap();
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
