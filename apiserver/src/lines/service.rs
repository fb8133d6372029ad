//! The service `Nodes`: lines over the network.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, kinds};
use coracle_client::line::{Lines as _, frame_out, receive_frames};
use coracle_client::{Error, messages};
use coracle_proto::v1 as pb;
use coracle_proto::v1::nodes_server::{Nodes, NodesServer};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Lines;
use crate::auth::attributes::Attributes;
use crate::auth::authorize::Authorizer;
use crate::auth::lookup::Lookup;
use crate::grpc::caller;
use crate::identity::{AUTHENTICATED, BOOTSTRAPPERS, Identity};
use crate::pki::Pki;

/// How long an agent may take to say which session it attends.
const HELLO: Duration = Duration::from_secs(10);
/// Of a node's name: it becomes an object's name.
const LONGEST_NAME: usize = 253;

/// Answers what nodes ask for: a certificate, and a line.
#[derive(Clone)]
pub struct Face {
    lines: Lines,
    pki: Arc<Pki>,
    authorizer: Authorizer,
    objects: Arc<dyn Lookup>,
}

/// The service, ready to be mounted.
pub fn nodes(
    lines: Lines,
    pki: Arc<Pki>,
    authorizer: Authorizer,
    objects: Arc<dyn Lookup>,
) -> NodesServer<Face> {
    NodesServer::new(Face { lines, pki, authorizer, objects })
}

/// What a new node asks for: upstream's right to have a certificate of its own signed.
fn joining() -> Attributes {
    Attributes {
        verb: "create".into(),
        group: "certificates.k8s.io".into(),
        resource: "certificatesigningrequests".into(),
        subresource: "nodeclient".into(),
        ..Attributes::default()
    }
}

impl Face {
    /// Whether a caller may speak for a node: the node itself, or a master.
    fn may_speak_for(&self, user: &Identity, name: &str) -> Result<(), Status> {
        let line = Attributes::on("create", &Key::new(&kinds::NODE, "", name), "line");
        self.authorizer.may(user, &line).map_err(|status| Status::permission_denied(status.message))
    }

    /// Whether a node of this name is at work. Whoever had its certificate, too, could read what its pods may read.
    fn is_at_work(&self, name: &str) -> bool {
        let known = self.objects.object(&Key::new(&kinds::NODE, "", name));
        let node = known.and_then(|node| node.value().ok()).unwrap_or_default();
        let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_ready = conditions.iter().any(|known| known["type"] == "Ready" && known["status"] == "True");
        is_ready || self.lines.is_connected(name)
    }
}

/// The refusal of a name that is in use, in the words of `kubeadm join`.
fn in_use(name: &str) -> Status {
    let why = format!(
        "a Node with name {name:?} and status \"Ready\" already exists in the cluster. You must delete the existing Node or \
         change the name of this new joining Node"
    );
    messages::error_out(&Error::Refused(coracle_api::Status::failure(409, "Conflict", why)))
}

fn is_node_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= LONGEST_NAME
        && name.bytes().all(fine)
        && edge(name.bytes().next())
        && edge(name.bytes().next_back())
}

#[tonic::async_trait]
impl Nodes for Face {
    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        let request = request.into_inner();
        if !self.pki.is_bootstrap_token(&request.token) {
            tracing::warn!(node = request.name, "a node came with a bad bootstrap token");
            return Err(Status::unauthenticated("the bootstrap token is not valid"));
        }
        let id = request.token.split('.').next().unwrap_or_default();
        let user = Identity::new(&format!("system:bootstrap:{id}"), &[BOOTSTRAPPERS, AUTHENTICATED]);
        let may = self.authorizer.may(&user, &joining());
        may.map_err(|status| Status::permission_denied(status.message))?;
        if !is_node_name(&request.name) {
            return Err(Status::invalid_argument(format!("{:?} is no name for a node", request.name)));
        }
        if self.is_at_work(&request.name) {
            tracing::warn!(
                node = request.name,
                token = id,
                "a bootstrap token came for the name of a node at work"
            );
            return Err(in_use(&request.name));
        }
        let certificate = self.pki.sign_node(&request.name, &request.certificate_request);
        let certificate = certificate.map_err(|error| Status::invalid_argument(error.to_string()))?;
        tracing::info!(node = request.name, "joined");
        Ok(Response::new(pb::JoinResponse { certificate, ca: self.pki.ca().to_owned() }))
    }

    type ConnectStream = BoxStream<'static, Result<pb::Open, Status>>;

    async fn connect(
        &self,
        request: Request<pb::ConnectRequest>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let user = caller(request.extensions())?;
        let name = request.into_inner().node;
        self.may_speak_for(&user, &name)?;
        let orders = self.lines.connect(&name).await.map_err(|error| messages::error_out(&error))?;
        let orders = orders.map(|order| order.map_err(|error| messages::error_out(&error)));
        Ok(Response::new(orders.boxed()))
    }

    type AttendStream = BoxStream<'static, Result<pb::Frame, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<pb::Frame>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let user = caller(request.extensions())?;
        let mut up = request.into_inner();
        let hello = tokio::time::timeout(HELLO, up.message()).await;
        let hello = hello.map_err(|_| Status::deadline_exceeded("no first frame"))??;
        let Some(pb::frame::Frame::Attend(hello)) = hello.and_then(|frame| frame.frame) else {
            return Err(Status::invalid_argument("the first frame must say which session this is"));
        };
        self.may_speak_for(&user, &hello.node)?;
        let ours = self.lines.attend(&hello.node, hello.session).await;
        let ours = ours.map_err(|error| messages::error_out(&error))?;
        tokio::spawn(receive_frames(up, ours.send));
        let down = ReceiverStream::new(ours.receive).map(|frame| Ok(frame_out(frame)));
        Ok(Response::new(down.boxed()))
    }
}
