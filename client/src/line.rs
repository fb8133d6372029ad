//! The line between a node and the API server, one type for both ends and for both ways to lay it: within a process and
//! over the network.
//!
//! ```text
//!  server: open(logs of pod x) --Open--> agent: attend(session) --> Duplex: Accepted, Data ..., Closed
//! ```
//!
//! The agent dials; a node listens on nothing. Each session has a stream of its own with a bounded buffer, so a slow reader
//! holds up its own session only, all the way down to the container.

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::{Revision, Status};
use coracle_proto::v1 as pb;
use coracle_proto::v1::nodes_client::NodesClient;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

pub use coracle_proto::v1::open::What;
pub use coracle_proto::v1::{Attach, Exec, Logs, Open, PortForward};

use crate::deadline::{ANSWER, in_time};
use crate::{Error, messages};

/// Standard input of a process.
pub const STDIN: u8 = 0;
/// Its output, or a log.
pub const STDOUT: u8 = 1;
/// Its errors.
pub const STDERR: u8 = 2;
/// The size of its terminal, as JSON: `{"Width":80,"Height":24}`.
pub const RESIZE: u8 = 4;
/// One byte: the channel that has ended.
pub const CLOSE: u8 = 255;

/// Frames that wait in one direction of a session before the sender has to.
const BUFFER: usize = 16;

/// One piece of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The container is there and the session has begun.
    Accepted,
    /// Bytes of one of the channels above.
    Data {
        /// Which.
        channel: u8,
        /// The bytes.
        data: Bytes,
    },
    /// The session is over: well, or with a status.
    Closed(Option<Box<Status>>),
}

/// One end of a session. Dropping it ends the session.
#[derive(Debug)]
pub struct Duplex {
    /// To the other end.
    pub send: mpsc::Sender<Frame>,
    /// From the other end; closed when that is gone.
    pub receive: mpsc::Receiver<Frame>,
}

/// Both ends of a session within a process.
pub fn duplex() -> (Duplex, Duplex) {
    let (to_right, from_left) = mpsc::channel(BUFFER);
    let (to_left, from_right) = mpsc::channel(BUFFER);
    (Duplex { send: to_right, receive: from_right }, Duplex { send: to_left, receive: from_left })
}

/// The agent's way to the API server.
#[async_trait]
pub trait Lines: Send + Sync + 'static {
    /// What people want of the node's containers, from now on. It ends when the line breaks: connect again.
    async fn connect(&self, node: &str) -> Result<BoxStream<'static, Result<Open, Error>>, Error>;

    /// Takes up a session that was asked for.
    async fn attend(&self, node: &str, session: u64) -> Result<Duplex, Error>;
}

/// The line over the network.
#[derive(Clone)]
pub struct GrpcLines {
    nodes: NodesClient<Channel>,
}

impl GrpcLines {
    /// Over a channel such as that of [`crate::channel::channel`].
    pub fn over(channel: Channel) -> GrpcLines {
        GrpcLines { nodes: NodesClient::new(channel) }
    }
}

fn failed(status: &tonic::Status) -> Error {
    messages::error_in(status, Revision::default())
}

#[async_trait]
impl Lines for GrpcLines {
    async fn connect(&self, node: &str) -> Result<BoxStream<'static, Result<Open, Error>>, Error> {
        let request = pb::ConnectRequest { node: node.into() };
        let mut nodes = self.nodes.clone();
        let orders = async { nodes.connect(request).await.map_err(|status| failed(&status)) };
        let orders = in_time(ANSWER, orders).await?;
        Ok(orders.into_inner().map(|order| order.map_err(|status| failed(&status))).boxed())
    }

    async fn attend(&self, node: &str, session: u64) -> Result<Duplex, Error> {
        let (ours, theirs) = duplex();
        let hello = pb::Attendance { node: node.into(), session };
        let hello = pb::Frame { frame: Some(pb::frame::Frame::Attend(hello)) };
        let up = ReceiverStream::new(theirs.receive).map(frame_out);
        let up = futures::stream::iter([hello]).chain(up);
        let mut nodes = self.nodes.clone();
        let down = async { nodes.attend(up).await.map_err(|status| failed(&status)) };
        let down = in_time(ANSWER, down).await?.into_inner();
        tokio::spawn(receive_frames(down, theirs.send));
        Ok(ours)
    }
}

/// Hands on the frames of a stream until either end is gone or the session is over. A line that breaks ends here as well: the other
/// end sees its channel close.
pub async fn receive_frames(mut stream: tonic::Streaming<pb::Frame>, to: mpsc::Sender<Frame>) {
    while let Some(Ok(frame)) = stream.next().await {
        let Ok(frame) = frame_in(frame) else { return };
        let over = matches!(frame, Frame::Closed(_));
        if to.send(frame).await.is_err() || over {
            return;
        }
    }
}

/// A frame as a message.
pub fn frame_out(frame: Frame) -> pb::Frame {
    use pb::frame::Frame as Out;
    let frame = match frame {
        Frame::Accepted => Out::Accepted(pb::Accepted {}),
        Frame::Data { channel, data } => Out::Chunk(pb::Chunk { channel: channel.into(), data }),
        Frame::Closed(status) => {
            let status = status.and_then(|status| serde_json::to_vec(&status).ok());
            Out::Closed(pb::Closed { status: status.unwrap_or_default().into() })
        }
    };
    pb::Frame { frame: Some(frame) }
}

/// A message as a frame.
///
/// # Errors
/// A message that makes no sense after the first.
pub fn frame_in(frame: pb::Frame) -> Result<Frame, messages::MessageError> {
    use pb::frame::Frame as In;
    match frame.frame {
        Some(In::Accepted(_)) => Ok(Frame::Accepted),
        Some(In::Chunk(chunk)) => {
            let channel =
                u8::try_from(chunk.channel).map_err(|_| messages::MessageError::Missing("channel"))?;
            Ok(Frame::Data { channel, data: chunk.data })
        }
        Some(In::Closed(closed)) if closed.status.is_empty() => Ok(Frame::Closed(None)),
        Some(In::Closed(closed)) => Ok(Frame::Closed(Some(serde_json::from_slice(&closed.status)?))),
        Some(In::Attend(_) | In::Forward(_)) | None => Err(messages::MessageError::Missing("frame")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::Accepted,
            Frame::Data { channel: CLOSE, data: Bytes::from_static(&[STDIN]) },
            Frame::Closed(None),
            Frame::Closed(Some(Box::new(Status::bad_request("no")))),
        ];
        for frame in frames {
            assert_eq!(frame_in(frame_out(frame.clone())).unwrap(), frame);
        }
    }
}
