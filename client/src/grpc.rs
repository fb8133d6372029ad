//! The client for components in a process of their own: `coracle.v1` over TLS.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, KindRef, Object, Revision, Status};
use coracle_proto::v1 as pb;
use coracle_proto::v1::objects_client::ObjectsClient;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::channel::channel;
use crate::kubeconfig::Credentials;
use crate::{Client, Error, Event, Interest, Write, messages};

/// How long one call may take; watches have no end.
const CALL: Duration = Duration::from_secs(30);
/// A list of everything in a large cluster fits.
const LARGEST_MESSAGE: usize = 512 << 20;

/// How long a client waits before it asks for the kinds again, at first and at most.
const KINDS_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A client over the network. Cheap to clone; it connects when it is first used, and again whenever the connection broke. As long as
/// there is one, it follows which kinds the server knows.
#[derive(Clone)]
pub struct Grpc {
    bus: Bus,
    _following: Arc<DropGuard>,
}

/// The way to the server.
#[derive(Clone)]
struct Bus {
    objects: ObjectsClient<Channel>,
    kinds: Kinds,
}

impl Grpc {
    /// A client with the identity of these credentials.
    ///
    /// # Errors
    /// [`Error::Credentials`] for a server, an authority, a certificate or a key that cannot be used.
    pub fn new(credentials: &Credentials) -> Result<Grpc, Error> {
        Ok(Grpc::over(channel(credentials)?))
    }

    /// A client over a channel that is there already.
    pub fn over(channel: Channel) -> Grpc {
        let objects = ObjectsClient::new(channel)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE);
        let bus = Bus { objects, kinds: Kinds::new() };
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow_kinds(bus.clone())));
        Grpc { bus, _following: Arc::new(stop.drop_guard()) }
    }
}

impl Bus {
    /// The kinds that were defined at run time: as they are now, and again whenever they change.
    async fn defined(&self) -> Result<Streaming<pb::KindsResponse>, Error> {
        call(self.objects.clone().kinds(pb::KindsRequest {})).await
    }

    /// Takes the next of them over; says whether there was one.
    async fn learn(&self, tables: &mut Streaming<pb::KindsResponse>) -> Result<bool, Error> {
        let next =
            tables.message().await.map_err(|status| messages::error_in(&status, Revision::default()))?;
        let Some(table) = next else { return Ok(false) };
        messages::kinds_in(&self.kinds, table)?;
        Ok(true)
    }
}

/// Follows the kinds for ever, over every connection that breaks.
async fn follow_kinds(bus: Bus) {
    let mut backoff = Backoff::new(KINDS_AGAIN.0, KINDS_AGAIN.1);
    loop {
        let followed = async {
            let mut tables = bus.defined().await?;
            while bus.learn(&mut tables).await? {
                backoff.reset();
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = followed.await {
            tracing::debug!(%error, "the kinds of the server are not known");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// A call that ends in time.
async fn call<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(messages::error_in(&status, Revision::default())),
        Err(_) => Err(Error::Unreachable(format!("no answer within {} s", CALL.as_secs()))),
    }
}

#[async_trait]
impl Client for Grpc {
    fn kinds(&self) -> &Kinds {
        &self.bus.kinds
    }

    async fn kinds_now(&self) -> Result<Vec<KindRef>, Error> {
        let mut tables = self.bus.defined().await?;
        match tokio::time::timeout(CALL, self.bus.learn(&mut tables)).await {
            Ok(Ok(true)) => Ok(self.bus.kinds.kept()),
            Ok(Ok(false)) | Err(_) => Err(Error::Unreachable("the server does not tell its kinds".into())),
            Ok(Err(error)) => Err(error),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        let request = pb::GetRequest { key: Some(messages::key_out(key)) };
        let object = call(self.bus.objects.clone().get(request)).await?.object;
        Ok(object.map(|object| messages::object_in(&self.bus.kinds, object)).transpose()?)
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        let request = pb::ListRequest { interest: Some(messages::interest_out(interest)) };
        let answer = call(self.bus.objects.clone().list(request)).await?;
        let objects = answer
            .objects
            .into_iter()
            .map(|object| messages::object_in(&self.bus.kinds, object))
            .collect::<Result<_, _>>()?;
        Ok((objects, Revision(answer.revision)))
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let interests = interests.iter().map(messages::interest_out).collect();
        let request = pb::WatchRequest { interests, since: since.0 };
        let (mut objects, kinds) = (self.bus.objects.clone(), self.bus.kinds.clone());
        let started = tokio::time::timeout(CALL, objects.watch(request)).await;
        let events = match started {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(messages::error_in(&status, since)),
            Err(_) => return Err(Error::Unreachable("the watch did not start in time".into())),
        };
        let events = events.map(move |event| match event {
            Ok(event) => Ok(messages::event_in(&kinds, event)?),
            Err(status) => Err(messages::error_in(&status, since)),
        });
        Ok(events.boxed())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        let count = writes.len();
        let request = pb::WriteRequest { writes: writes.iter().map(messages::write_out).collect() };
        let outcomes = call(self.bus.objects.clone().write(request)).await?.outcomes;
        if outcomes.len() != count {
            return Err(Error::Malformed(format!("{} outcomes for {count} writes", outcomes.len())));
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| messages::outcome_in(&self.bus.kinds, outcome))
            .collect::<Result<_, _>>()?)
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        let request = pb::ReportRequest { verdicts: verdicts.iter().map(messages::verdict_out).collect() };
        call(self.bus.objects.clone().report(request)).await?;
        Ok(())
    }
}
