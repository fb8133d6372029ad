//! From a listening socket to requests: TLS, a slot among the connections, HTTP.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::authenticate::certified;
use crate::connections::{self, Class, Connections, Limits, Slot};
use crate::faces::Faces;
use crate::http::bodies::Room;
use crate::http::connection::{Connection, Peer};
use crate::identity::MASTERS;
use crate::write_timeout::WriteTimeout;

/// An HTTP/2 client that has vanished, such as an agent after a power cut, is noticed within the sum of these.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_ANSWER: Duration = Duration::from_secs(5);
/// After how much silence the system asks a client whether it is there, and again between two asks: upstream's time. After so
/// many asks without an answer it is not.
const VANISHED_AFTER: Duration = Duration::from_secs(15);
const VANISHED_ASKS: u32 = 4;
/// The most requests at a time on one connection.
const STREAMS: u32 = 1000;
/// How long a connection that has to end gets to finish; watches never do by themselves.
const DRAIN: Duration = Duration::from_millis(500);
/// How long to wait after a connection could not be accepted: usually the process has no file descriptor left, until
/// another connection closes.
const AGAIN: Duration = Duration::from_millis(50);

/// What it takes to serve whoever connects.
pub(crate) struct Listener {
    pub listener: TcpListener,
    pub tls: TlsAcceptor,
    pub faces: Faces,
    pub connections: Connections,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Listener {
    /// Serves until the server stops.
    pub async fn accept(self) {
        while let Some(accepted) = self.stop.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    // Without a slot the connection closes at once.
                    let Ok(slot) = self.connections.take() else { continue };
                    let Limits { handshake, unread, .. } = *self.connections.limits();
                    let (tls, faces, stop) = (self.tls.clone(), self.faces.clone(), self.stop.clone());
                    self.tasks.spawn(async move {
                        let shaken = shake(stream, &tls, handshake, unread);
                        let stream = tokio::select! {
                            stream = shaken => stream,
                            () = slot.over() => None,
                        };
                        if let Some((stream, peer)) = stream
                            && slot.set_class(class(&peer)).is_ok()
                        {
                            serve(stream, peer, slot, faces, stop).await;
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

type Stream = tokio_rustls::server::TlsStream<WriteTimeout<TcpStream>>;

/// Sets TLS up, and says whom the client's certificate names.
async fn shake(
    stream: TcpStream,
    tls: &TlsAcceptor,
    handshake: Duration,
    unread: Duration,
) -> Option<(Stream, Peer)> {
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    let stream = tls.accept(WriteTimeout::new(stream, unread));
    let stream = tokio::time::timeout(handshake, stream).await.ok()?.ok()?;
    // Verified in the handshake: it is of this cluster's authority.
    let chain = stream.get_ref().1.peer_certificates();
    let peer = chain.and_then(|chain| chain.first()).map_or(Peer::Unknown, |leaf| certified(leaf));
    Some((stream, peer))
}

/// Has the system ask a client that says nothing whether it is still there: one that has vanished closes nothing, and would keep
/// its watches, its logs and its sessions for ever.
fn keep_alive(stream: &TcpStream) {
    let asked = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, VANISHED_AFTER))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, VANISHED_AFTER))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, VANISHED_ASKS));
    if let Err(error) = asked {
        tracing::debug!(%error, "keepalive");
    }
}

/// Which slots a client's connection takes.
fn class(peer: &Peer) -> Class {
    match peer {
        Peer::Known(user) if user.is_in(MASTERS) || user.is_component() || user.node().is_some() => {
            Class::Cluster
        }
        Peer::Known(_) => Class::Known,
        Peer::Unknown | Peer::Unreadable => Class::Unknown,
    }
}

async fn serve(stream: Stream, peer: Peer, slot: Slot, faces: Faces, stop: CancellationToken) {
    let connection = Connection { peer, slot: Some(slot.clone()), room: Room::default() };
    let counted = slot.clone();
    let service =
        service_fn(move |request| answer(faces.clone(), connection.clone(), counted.request(), request));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(slot.idle_limit());
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    http2.keep_alive_interval(ALIVE_EVERY).keep_alive_timeout(ALIVE_ANSWER);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is no fault of the server.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = slot.over() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN, connection).await;
}

/// Answers a request, and lets the connection count as busy until the answer has been sent.
async fn answer(
    faces: Faces,
    connection: Connection,
    held: connections::Request,
    mut request: Request<Incoming>,
) -> Result<Response<Counted>, Infallible> {
    request.extensions_mut().insert(connection);
    let response = faces.answer(request.map(Body::new)).await;
    Ok(response.map(|body| Counted { body, _held: held }))
}

/// The body of an answer.
struct Counted {
    body: Body,
    _held: connections::Request,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
