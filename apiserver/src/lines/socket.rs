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
pub(super) const PROTOCOLS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];

/// A protocol's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    base64: bool,
    /// The end is told as a `Status` in JSON, not as text.
    status: bool,
}

impl Protocol {
    pub(super) fn named(name: &str) -> Protocol {
        Protocol { base64: name.contains("base64"), status: name.starts_with('v') }
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

    /// The channel and the bytes of a message; `None` for one that says nothing.
    fn read(self, message: Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(data) if !self.base64 => Some((*data.first()?, data.slice(1..))),
            Message::Text(text) if self.base64 => {
                let channel = text.as_bytes().first()?.checked_sub(b'0')?;
                let data = STANDARD.decode(text.get(1..)?.trim_end()).ok()?;
                Some((channel, data.into()))
            }
            _ => None,
        }
    }

    fn end(self, status: Option<&Status>) -> Message {
        let told = match (status, self.status) {
            (None, false) => String::new(),
            (Some(status), false) => status.message.clone(),
            (None, true) => json!({"metadata": {}, "status": "Success"}).to_string(),
            (Some(status), true) => {
                let mut told = serde_json::to_value(status).unwrap_or_default();
                if let Value::Object(fields) = &mut told {
                    fields.shift_remove("kind");
                    fields.shift_remove("apiVersion");
                }
                told.to_string()
            }
        };
        self.message(ERROR, told.as_bytes())
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
        if matches!(channel, STDIN | RESIZE | CLOSE)
            && send.send(Frame::Data { channel, data }).await.is_err()
        {
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
    // Clients take a close without a code for an error.
    let farewell = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    let _ = sink.send(Message::Close(Some(farewell))).await;
    let _ = sink.flush().await;
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
        let plain = Protocol::named("v5.channel.k8s.io");
        assert_eq!(plain.read(Message::Binary(Bytes::new())), None);
        assert_eq!(plain.read(Message::Text("1".into())), None);
        assert_eq!(Protocol::named("base64.channel.k8s.io").read(Message::Text("1?".into())), None);
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
        let told: Value = serde_json::from_str(&text("v4.channel.k8s.io", Some(&status))).unwrap();
        assert_eq!((&told["reason"], &told["kind"]), (&json!("NonZeroExitCode"), &Value::Null));
    }
}
