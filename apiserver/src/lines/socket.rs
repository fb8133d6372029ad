//! Kubernetes' channel protocols over a WebSocket: the first byte of a message names its channel. In the `base64` forms
//! messages are text: the channel's digit, then base64.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use coracle_api::Status;
use coracle_client::line::{CLOSE, Duplex, Frame, RESIZE, STDIN, STDOUT};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The channel on which the server says how it ended.
const ERROR: u8 = 3;

/// How long a client may take to close its side.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the server speaks, best first.
pub(super) const PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    // For clients that name none.
    "",
];

/// How one protocol differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    base64: bool,
    /// The end is reported as a `Status` in JSON, not as text.
    status: bool,
    /// A message on the last channel says that the client has closed one.
    closes: bool,
}

impl Protocol {
    pub(super) fn named(name: &str) -> Protocol {
        Protocol {
            base64: name.contains("base64"),
            status: name.starts_with('v'),
            closes: name.starts_with("v5."),
        }
    }

    fn message(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            return Message::Text(format!("{channel}{}", STANDARD.encode(data)).into());
        }
        let mut bytes = BytesMut::with_capacity(data.len() + 1);
        bytes.put_u8(channel);
        bytes.put_slice(data);
        Message::Binary(bytes.freeze())
    }

    /// The channel and the bytes of a message; `None` for one that says nothing. Text and binary messages carry the same bytes:
    /// clients choose the type by what they hold (`write_stdin("text")`), not by the protocol.
    fn read(self, message: Message) -> Option<(u8, Bytes)> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
        };
        let (&first, rest) = bytes.split_first()?;
        if !self.base64 {
            return Some((first, bytes.slice(1..)));
        }
        let data = STANDARD.decode(rest.trim_ascii_end()).ok()?;
        Some((first.checked_sub(b'0')?, data.into()))
    }

    /// Whether what comes on a channel is for the container.
    fn takes(self, channel: u8) -> bool {
        matches!(channel, STDIN | RESIZE) || (channel == CLOSE && self.closes)
    }

    fn end(self, status: Option<&Status>) -> Message {
        let text = match (status, self.status) {
            (None, false) => String::new(),
            (Some(status), false) => status.message.clone(),
            (None, true) => json!({"metadata": {}, "status": "Success"}).to_string(),
            (Some(status), true) => {
                let mut document = serde_json::to_value(status).unwrap_or_default();
                if let Value::Object(fields) = &mut document {
                    fields.shift_remove("kind");
                    fields.shift_remove("apiVersion");
                }
                document.to_string()
            }
        };
        self.message(ERROR, text.as_bytes())
    }
}

/// Carries a session over a socket until either is over.
pub(super) async fn serve(socket: WebSocket, protocol: Protocol, session: Duplex) {
    let (sink, mut stream) = socket.split();
    // Side by side: a process that does not read its input must not keep its output from being read.
    tokio::select! {
        () = outward(sink, protocol, session.receive) => {}
        () = inward(&mut stream, protocol, session.send) => return,
    }
    // Input that nobody reads any more must not lie in the connection when it closes: the reset that follows could overtake
    // what was written last.
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}

async fn inward(stream: &mut SplitStream<WebSocket>, protocol: Protocol, send: mpsc::Sender<Frame>) {
    while let Some(Ok(message)) = stream.next().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
        let Some((channel, data)) = protocol.read(message) else { continue };
        if protocol.takes(channel) && send.send(Frame::Data { channel, data }).await.is_err() {
            // The process is over, but what it wrote may still be on its way out.
            std::future::pending::<()>().await;
        }
    }
}

async fn outward(
    mut sink: SplitSink<WebSocket, Message>,
    protocol: Protocol,
    mut receive: mpsc::Receiver<Frame>,
) {
    // An empty message tells the client that the session stands.
    if sink.send(protocol.message(STDOUT, &[])).await.is_err() {
        return;
    }
    let broken = || Status::internal("the line to the node broke");
    let last = loop {
        match receive.recv().await {
            Some(Frame::Data { channel, data }) => {
                if sink.send(protocol.message(channel, &data)).await.is_err() {
                    return;
                }
            }
            Some(Frame::Accepted) => {}
            Some(Frame::Closed(status)) => break protocol.end(status.as_deref()),
            None => break protocol.end(Some(&broken())),
        }
    };
    let _ = sink.send(last).await;
    let _ = sink.send(farewell()).await;
    let _ = sink.flush().await;
}

/// Clients take a close without a code for an error.
fn farewell() -> Message {
    Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() }))
}

/// Closes a socket on which nothing more is sent, once the client has heard of it.
pub(super) async fn close(socket: &mut WebSocket) {
    if socket.send(farewell()).await.is_ok() {
        let rest = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_reads_what_it_writes() {
        for name in PROTOCOLS {
            let protocol = Protocol::named(name);
            let got = protocol.read(protocol.message(2, b"a\0b"));
            assert_eq!(got, Some((2, Bytes::from_static(b"a\0b"))), "{name}");
            assert_eq!(protocol.read(protocol.message(1, b"")), Some((1, Bytes::new())), "{name}");
        }
    }

    #[test]
    fn either_type_of_message_carries_the_same_bytes() {
        let both = |text: &str| [Message::Text(text.into()), Message::Binary(text.to_owned().into())];
        for name in PROTOCOLS {
            let protocol = Protocol::named(name);
            let (sent, empty) = if protocol.base64 { ("0aMO2", "4") } else { ("\0h\u{f6}", "\u{4}") };
            for message in both(sent) {
                let expected = Some((STDIN, Bytes::from("h\u{f6}")));
                assert_eq!(protocol.read(message.clone()), expected, "{name}: {message:?}");
            }
            for message in both(empty) {
                assert_eq!(
                    protocol.read(message.clone()),
                    Some((RESIZE, Bytes::new())),
                    "{name}: {message:?}"
                );
            }
            for message in both("") {
                assert_eq!(protocol.read(message), None, "{name}");
            }
            for message in [Message::Ping("\0x".into()), Message::Pong("\0x".into()), Message::Close(None)] {
                assert_eq!(protocol.read(message), None, "{name}");
            }
            assert_eq!(protocol.takes(CLOSE), name.starts_with("v5"), "{name}");
            assert!(protocol.takes(STDIN) && protocol.takes(RESIZE) && !protocol.takes(STDOUT), "{name}");
        }
        let base64 = Protocol::named("base64.channel.k8s.io");
        for message in ["1?", "!aMO2"].into_iter().flat_map(both) {
            assert_eq!(base64.read(message), None, "what is no base64, and what is no channel");
        }
    }

    #[test]
    fn the_end_is_told_as_clients_expect() {
        let text = |protocol: &str, status: Option<&Status>| {
            let protocol = Protocol::named(protocol);
            let (channel, data) = protocol.read(protocol.end(status)).unwrap();
            assert_eq!(channel, ERROR);
            String::from_utf8(data.to_vec()).unwrap()
        };
        assert_eq!(text("v5.channel.k8s.io", None), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(text("channel.k8s.io", None), "");
        let status = Status::failure(
            0,
            "NonZeroExitCode",
            "command terminated with non-zero exit code: exit status 3",
        );
        let sent: Value = serde_json::from_str(&text("v4.channel.k8s.io", Some(&status))).unwrap();
        assert_eq!((&sent["reason"], &sent["kind"]), (&json!("NonZeroExitCode"), &Value::Null));
    }
}
