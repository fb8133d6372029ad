//! `pods/log`: a session's output as the body of an answer, or as the messages of a WebSocket.

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, What};
use futures::stream;
use http::request::Parts;

use super::container;
use super::session::{App, begin};
use crate::http::query::Query;
use crate::http::reply::Reply;
use crate::http::upgrade::{self, Wish};

/// In what form a log goes over a WebSocket: as it is, unless the client wants text.
///
/// Source: `NewDefaultReaderProtocols` in `k8s.io/apiserver/pkg/util/wsstream/stream.go`.
const PROTOCOLS: [&str; 3] = ["binary.k8s.io", BASE64, ""];
const BASE64: &str = "base64.binary.k8s.io";

/// Answers `GET .../pods/NAME/log`.
pub(super) async fn answer(
    app: &App,
    namespace: &str,
    name: &str,
    query: &Query,
    parts: &mut Parts,
) -> Result<Response, Status> {
    let logs = super::options::read(name, query)?;
    let Some(found) = container::find(&app.registry, namespace, name, query.text("container"))? else {
        // A pod without a node has written nothing.
        return Ok(Reply { code: 204, ..text(Body::empty()) }.into_response());
    };
    let socket = match upgrade::wish(&parts.headers) {
        Wish::Socket => match upgrade::socket(parts, &PROTOCOLS).await {
            Ok(socket) => Some(socket),
            Err(refusal) => return Ok(refusal),
        },
        Wish::Nothing | Wish::Spdy => None,
    };
    let session = begin(app, found, What::Logs(logs)).await?;
    let Some(socket) = socket else {
        return Ok(text(Body::from_stream(stream::unfold(session, next))).into_response());
    };
    let (stop, base64) = (app.stop.clone(), socket.protocol == BASE64);
    Ok(socket.run(move |socket| async move {
        stop.run_until_cancelled(send(socket, base64, session)).await;
    }))
}

fn text(body: Body) -> Reply {
    Reply { body, content_type: "text/plain".into(), ..Reply::text(200, "") }
}

/// The next bytes of a log. A log that breaks off cannot say so any more, so it ends.
async fn next(mut session: Duplex) -> Option<(Result<Bytes, std::io::Error>, Duplex)> {
    loop {
        match session.receive.recv().await? {
            Frame::Data { data, .. } => return Some((Ok(data), session)),
            Frame::Closed(_) => return None,
            Frame::Accepted => {}
        }
    }
}

/// Sends a log over a socket until either ends. The first message is empty: it tells the client that the stream stands.
async fn send(mut socket: WebSocket, base64: bool, session: Duplex) {
    let message = |data: Bytes| {
        if base64 { Message::Text(STANDARD.encode(data).into()) } else { Message::Binary(data) }
    };
    if socket.send(message(Bytes::new())).await.is_err() {
        return;
    }
    let mut log = Box::pin(stream::unfold(session, next));
    loop {
        tokio::select! {
            data = futures::StreamExt::next(&mut log) => match data {
                Some(Ok(data)) => if socket.send(message(data)).await.is_err() { return },
                Some(Err(_)) | None => break,
            },
            // Messages of the client mean nothing; only its closing does.
            heard = socket.recv() => match heard {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
            },
        }
    }
    super::socket::close(&mut socket).await;
}
