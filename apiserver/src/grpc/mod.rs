//! The face for components in processes of their own: messages in, a [`Client`] for the caller's identity, messages out.

pub mod callers;

use std::sync::Arc;

use coracle_api::Revision;
use coracle_client::{Client, Error, messages};
use coracle_proto::v1 as pb;
use coracle_proto::v1::objects_server::{Objects, ObjectsServer};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Extensions, Request, Response, Status};

use crate::http::connection::{Connection, Peer};
use crate::identity::Identity;

/// The largest answer, as large as the client takes: a list of everything.
const LARGEST_ANSWER: usize = 512 << 20;
/// The largest request: a batch of writes, of which one alone may have 3 MB.
const LARGEST_REQUEST: usize = 64 << 20;

/// Makes a client for whoever calls.
pub type MakeClient = Arc<dyn Fn(Arc<Identity>) -> Arc<dyn Client> + Send + Sync>;

/// The service `Objects`.
#[derive(Clone)]
pub struct Face {
    make_client: MakeClient,
}

/// The service, ready to be mounted. Requests need a [`Connection`] among their extensions.
pub fn objects(make_client: MakeClient) -> ObjectsServer<Face> {
    ObjectsServer::new(Face { make_client })
        .max_decoding_message_size(LARGEST_REQUEST)
        .max_encoding_message_size(LARGEST_ANSWER)
}

impl Face {
    fn client<T>(&self, request: &Request<T>) -> Result<Arc<dyn Client>, Status> {
        Ok((self.make_client)(caller(request.extensions())?))
    }
}

/// Who calls: somebody known by certificate. What the caller may do is asked with each call.
///
/// # Errors
/// 401 in gRPC's words.
pub fn caller(extensions: &Extensions) -> Result<Arc<Identity>, Status> {
    match extensions.get::<Connection>().map(|connection| &connection.peer) {
        Some(Peer::Known(user)) => Ok(user.clone()),
        Some(Peer::Unreadable) => Err(Status::unauthenticated("the client certificate names nobody")),
        Some(Peer::Unknown) | None => Err(Status::unauthenticated("components show a client certificate")),
    }
}

fn failed(error: impl Into<Error>) -> Status {
    messages::error_out(&error.into())
}

#[tonic::async_trait]
impl Objects for Face {
    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let client = self.client(&request)?;
        let key = messages::key_in(client.kinds(), request.into_inner().key).map_err(failed)?;
        let object = client.get(&key).await.map_err(failed)?;
        Ok(Response::new(pb::GetResponse { object: object.map(|object| messages::object_out(&object)) }))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        let client = self.client(&request)?;
        let interest =
            messages::interest_in(client.kinds(), request.into_inner().interest).map_err(failed)?;
        let (objects, revision) = client.list(&interest).await.map_err(failed)?;
        let objects = objects.iter().map(|object| messages::object_out(object)).collect();
        Ok(Response::new(pb::ListResponse { objects, revision: revision.0 }))
    }

    type WatchStream = BoxStream<'static, Result<pb::WatchEvent, Status>>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let client = self.client(&request)?;
        let request = request.into_inner();
        let interests = request
            .interests
            .into_iter()
            .map(|interest| messages::interest_in(client.kinds(), Some(interest)));
        let interests = interests.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let events = client.watch(interests, Revision(request.since)).await.map_err(failed)?;
        let events = events.map(|event| event.map(|event| messages::event_out(&event)).map_err(failed));
        Ok(Response::new(events.boxed()))
    }

    async fn write(&self, request: Request<pb::WriteRequest>) -> Result<Response<pb::WriteResponse>, Status> {
        let client = self.client(&request)?;
        let writes =
            request.into_inner().writes.into_iter().map(|write| messages::write_in(client.kinds(), write));
        let writes = writes.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let outcomes = client.write(writes).await.map_err(failed)?;
        Ok(Response::new(pb::WriteResponse {
            outcomes: outcomes.iter().map(messages::outcome_out).collect(),
        }))
    }

    async fn report(
        &self,
        request: Request<pb::ReportRequest>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        let client = self.client(&request)?;
        let verdicts = request
            .into_inner()
            .verdicts
            .into_iter()
            .map(|verdict| messages::verdict_in(client.kinds(), verdict));
        let verdicts = verdicts.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        client.report(verdicts).await.map_err(failed)?;
        Ok(Response::new(pb::ReportResponse {}))
    }

    type KindsStream = BoxStream<'static, Result<pb::KindsResponse, Status>>;

    /// Which kinds there are is no secret: discovery tells everybody who is known.
    async fn kinds(&self, request: Request<pb::KindsRequest>) -> Result<Response<Self::KindsStream>, Status> {
        let kinds = self.client(&request)?.kinds().clone();
        let mut changes = kinds.changes();
        // The table as it is comes first.
        changes.mark_changed();
        let tables = stream::unfold((kinds, changes), |(kinds, mut changes)| async {
            changes.changed().await.ok()?;
            let table = messages::kinds_out(&kinds);
            Some((Ok(table), (kinds, changes)))
        });
        Ok(Response::new(tables.boxed()))
    }
}

#[cfg(test)]
mod tests;
