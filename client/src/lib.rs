//! The client library of every component: a [`Client`] to read and write objects, informers that keep typed copies of them,
//! a work queue, the controller runner, and a clock.
//!
//! ```text
//!  registry --watch--> Informers --keys--> Queue --key--> observe --> plan --Gate--> carry out --writes--> registry
//! ```
//!
//! In one process the client calls the registry directly and passes `Arc`s; over the network it is gRPC. A component
//! cannot tell.

pub mod backoff;
pub mod chance;
pub mod channel;
pub mod clock;
pub mod controller;
pub mod deadline;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
#[cfg(any(test, feature = "fake"))]
pub mod faulty;
pub mod gate;
pub mod grpc;
pub mod health;
pub mod informers;
pub mod join;
pub mod kubeconfig;
pub mod line;
pub mod messages;
pub mod queue;
pub mod recorder;
pub mod typed;
pub mod write;

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, KindRef, Object, Revision, Status};
use futures::stream::BoxStream;
use serde_json::Value;

pub use chance::Chance;
pub use clock::Clock;
pub use controller::{Action, Controller, Ctx, NewEvent, Plan, Refusal, Runner, Wakes};
pub use gate::Gate;
pub use health::{Checks, Running};
pub use informers::{Change, Index, Informers, Metadata, Store, Stored};
pub use queue::Queue;
pub use recorder::EventRecorder;
pub use typed::Typed;
pub use write::{Op, PatchForm, Propagation, Write};

/// How a component reaches the cluster for every component.
///
/// The identity on whose behalf it reads and writes belongs to the client: it is named when the client is made.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// The kinds that the server knows, as far as this client has heard of them.
    fn kinds(&self) -> &Kinds;

    /// The kinds whose objects the server keeps at this moment, for those who must not miss one that has just come.
    async fn kinds_now(&self) -> Result<Vec<KindRef>, Error> {
        Ok(self.kinds().kept())
    }

    /// The object as it is now, or `None` where there is none.
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error>;

    /// All objects that the interest names, and the revision at which they were all true together.
    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error>;

    /// Every change after `since` that any of the interests names, in order of revision, without gap or repeat.
    /// A change that moves an object out of an interest is a [`Event::Deleted`] with its last state inside.
    /// The stream ends with an error: [`Error::Expired`] means list again, anything else means resume.
    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error>;

    /// Writes a batch and answers when all of it is on disk: an outcome for each item, in order. Items do not depend
    /// on each other: one that fails leaves the others as they are.
    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error>;

    /// Leaves the scheduler's verdicts with the server, which serves the latest of each pod at
    /// `/coracle/v1/verdicts/NAMESPACE/POD`. They are explanations, not objects: not kept over a restart.
    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error>;
}

/// Which objects of one kind somebody is interested in.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// The kind.
    pub kind: KindRef,
    /// One namespace; `None` for all.
    pub namespace: Option<String>,
    /// A label selector in text form; empty for all.
    pub labels: String,
    /// A field selector in text form, such as `spec.nodeName=node-1`; empty for all.
    pub fields: String,
}

impl Interest {
    /// All objects of a kind.
    pub fn all(kind: impl Into<KindRef>) -> Interest {
        Interest { kind: kind.into(), namespace: None, labels: String::new(), fields: String::new() }
    }

    /// The same, in one namespace only.
    #[must_use]
    pub fn within(mut self, namespace: impl Into<String>) -> Interest {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same, where a label selector holds.
    #[must_use]
    pub fn labelled(mut self, selector: impl Into<String>) -> Interest {
        self.labels = selector.into();
        self
    }

    /// The same, where a field selector holds.
    #[must_use]
    pub fn where_fields(mut self, selector: impl Into<String>) -> Interest {
        self.fields = selector.into();
        self
    }
}

/// One step of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object came to be, or came into the interest.
    Added(Arc<Object>),
    /// It changed.
    Modified(Arc<Object>),
    /// It is gone, or left the interest. Its last state inside the interest, with the revision of the change.
    Deleted(Arc<Object>),
    /// Nothing to see, but everything up to this revision has been sent.
    Bookmark(Revision),
}

impl Event {
    /// The revision up to which a watch that has shown this event is complete.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => object.revision,
            Event::Bookmark(revision) => *revision,
        }
    }
}

/// Why a call as a whole failed. What happened to one item of a write is its [`Status`].
// A refusal is large and rare: a box would burden every match for nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision to watch from is no longer kept: list again.
    #[error("revision {since} is no longer kept; list again")]
    Expired {
        /// Where the watch was to start.
        since: Revision,
    },
    /// The server said no.
    #[error(transparent)]
    Refused(#[from] Status),
    /// The server cannot be reached or broke off. Whether a write happened is unknown.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// The server answered what this version cannot read.
    #[error("unexpected answer from the API server: {0}")]
    Malformed(String),
    /// The server's URL, its authority, the certificate or the key is of no use, so that nobody was asked.
    #[error("cannot use the credentials: {0}")]
    Credentials(String),
    /// The informers do not hold what was asked for: a list or watch fails, or nobody runs them any more. Says why.
    #[error("not all objects are known yet: {0}")]
    NotSynced(String),
    /// The gate is closed: the plan is on show instead of done.
    #[error("the gate is closed; the plan is held")]
    Held,
    /// A controller panicked at this key, which is a fault of ours.
    #[error("a controller panicked at this key")]
    Panicked,
}

impl Error {
    /// Whether the server said no for this reason, such as `Conflict` or `NotFound`.
    pub fn is(&self, reason: &str) -> bool {
        matches!(self, Error::Refused(status) if status.reason == reason)
    }
}
