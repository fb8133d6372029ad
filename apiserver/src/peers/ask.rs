//! What is asked of the other servers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::Key;
use coracle_client::channel::channel;
use coracle_client::kubeconfig::Credentials;
use coracle_client::line::{Duplex, Open, duplex, frame_out, receive_frames};
use coracle_proto::v1 as pb;
use coracle_proto::v1::peers_client::PeersClient;
use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::announce::{Announced, others};
use crate::lines::LineError;
use crate::registry::Registry;

/// How long another server may take to open a session: a little longer than it gives its agents.
const OPEN: Duration = Duration::from_secs(12);
/// How long it may take to look something up.
const LOOK_UP: Duration = Duration::from_secs(2);

/// The way to the other servers; where the store is not shared there are none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Peers(Option<Arc<Inner>>);

struct Inner {
    registry: Arc<Registry>,
    own: Announced,
    /// What this server shows to others.
    credentials: Credentials,
    /// By address; those that are gone are dropped.
    channels: Mutex<HashMap<String, Channel>>,
}

impl Peers {
    /// The way from this server to the others.
    pub fn new(registry: Arc<Registry>, own: Announced, credentials: Credentials) -> Peers {
        let channels = Mutex::default();
        Peers(Some(Arc::new(Inner { registry, own, credentials, channels })))
    }

    /// Opens a session with a node's agent whose line ends at another server.
    ///
    /// # Errors
    /// [`LineError`]
    pub async fn open(&self, node: &str, order: Open) -> Result<Duplex, LineError> {
        let mut error = LineError::NotConnected(node.to_owned());
        for peer in self.all() {
            match tokio::time::timeout(OPEN, open(peer, node, order.clone())).await {
                Ok(Ok(session)) => return Ok(session),
                // It is not this one.
                Ok(Err(status)) if status.code() == Code::NotFound => {}
                Ok(Err(_)) | Err(_) => error = LineError::NoAnswer(node.to_owned()),
            }
        }
        Err(error)
    }

    /// What the others know of why a pod is where it is.
    pub async fn verdicts(&self, pod: &Key) -> Vec<Value> {
        let answers = self.all().into_iter().map(|peer| async move {
            let request = pb::VerdictRequest { namespace: pod.namespace.clone(), name: pod.name.clone() };
            let answer = tokio::time::timeout(LOOK_UP, PeersClient::new(peer).verdict(request)).await;
            serde_json::from_slice(&answer.ok()?.ok()?.into_inner().json).ok()
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    fn all(&self) -> Vec<Channel> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let others = others(&inner.registry, &inner.own);
        let mut channels = inner.channels.lock();
        channels.retain(|address, _| others.iter().any(|other| other.address == *address));
        for other in others {
            let Entry::Vacant(vacant) = channels.entry(other.address) else { continue };
            let server = vacant.key().clone();
            match channel(&Credentials { server, ..inner.credentials.clone() }) {
                Ok(channel) => drop(vacant.insert(channel)),
                Err(error) => tracing::warn!(server = vacant.key(), %error, "cannot ask"),
            }
        }
        channels.values().cloned().collect()
    }
}

async fn open(peer: Channel, node: &str, order: Open) -> Result<Duplex, tonic::Status> {
    let (ours, theirs) = duplex();
    let forward = pb::Forward { node: node.into(), open: Some(order) };
    let hello = pb::Frame { frame: Some(pb::frame::Frame::Forward(forward)) };
    let up = futures::stream::iter([hello]).chain(ReceiverStream::new(theirs.receive).map(frame_out));
    let down = PeersClient::new(peer).open(up).await?.into_inner();
    tokio::spawn(receive_frames(down, theirs.send));
    Ok(ours)
}
