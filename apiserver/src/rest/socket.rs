//! A watch over a WebSocket: each event is a message of text, for clients that cannot read an answer while it comes.
//!
//! Source: `HandleWS` in `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`.

use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::response::Response;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::http::upgrade::Socket;

/// No protocol has a name.
pub const PROTOCOLS: [&str; 1] = [""];

/// Sends what a watch answers over a socket, piece by piece, until either ends.
pub fn answer(socket: Socket, events: Body, stop: CancellationToken) -> Response {
    socket.run(move |socket| async move {
        stop.run_until_cancelled(send(socket, events)).await;
    })
}

async fn send(mut socket: WebSocket, events: Body) {
    let mut events = events.into_data_stream();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(Ok(event)) = event else { break };
                let Ok(text) = String::from_utf8(event.into()) else { break };
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            // Messages of the client mean nothing; only its closing does.
            heard = socket.recv() => match heard {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {}
            },
        }
    }
    let _ =
        socket.send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }))).await;
}
