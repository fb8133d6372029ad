//! The service `Peers`: what this server answers to others on the same store.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::line::{frame_out, receive_frames};
use coracle_proto::v1 as pb;
use coracle_proto::v1::peers_server::PeersServer;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::SERVER_USER;
use crate::grpc::caller;
use crate::identity::MASTERS;
use crate::lines::{LineError, Lines};
use crate::verdicts::Verdicts;

/// How long another server may take to say what it wants.
const HELLO: Duration = Duration::from_secs(10);

/// Answers the other servers on the same store.
#[derive(Clone)]
pub struct Face {
    lines: Lines,
    verdicts: Arc<Verdicts>,
}

/// The service, ready to be mounted.
pub fn peers(lines: Lines, verdicts: Arc<Verdicts>) -> PeersServer<Face> {
    PeersServer::new(Face { lines, verdicts })
}

/// Only another server may ask: it has checked whether its client may.
fn from_a_server<T>(request: &Request<T>) -> Result<(), Status> {
    let user = caller(request.extensions())?;
    if user.user == SERVER_USER && user.is_in(MASTERS) {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{:?} is no API server", user.user)))
}

#[tonic::async_trait]
impl pb::peers_server::Peers for Face {
    type OpenStream = BoxStream<'static, Result<pb::Frame, Status>>;

    async fn open(
        &self,
        request: Request<Streaming<pb::Frame>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        from_a_server(&request)?;
        let mut up = request.into_inner();
        let hello = tokio::time::timeout(HELLO, up.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("no first frame"))??;
        let Some(pb::frame::Frame::Forward(pb::Forward { node, open: Some(order) })) =
            hello.and_then(|frame| frame.frame)
        else {
            return Err(Status::invalid_argument("the first frame must say what is to be opened"));
        };
        let session = self.lines.open(&node, order).await.map_err(|error| match error {
            LineError::NotConnected(_) => Status::not_found(error.to_string()),
            LineError::NoAnswer(_) => Status::deadline_exceeded(error.to_string()),
        })?;
        tokio::spawn(receive_frames(up, session.send));
        let down = ReceiverStream::new(session.receive).map(|frame| Ok(frame_out(frame)));
        Ok(Response::new(down.boxed()))
    }

    async fn verdict(
        &self,
        request: Request<pb::VerdictRequest>,
    ) -> Result<Response<pb::VerdictResponse>, Status> {
        from_a_server(&request)?;
        let pb::VerdictRequest { namespace, name } = request.into_inner();
        let verdict = self.verdicts.get(&Key::new(&kinds::POD, namespace, name));
        let json = verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
        Ok(Response::new(pb::VerdictResponse { json: json.into() }))
    }
}
