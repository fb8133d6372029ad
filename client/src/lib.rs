//! What every component holds: a [`Client`] to read and write objects, informers that keep typed copies of them,
//! a work queue, the controller runner, and a clock.
//!
//! ```text
//!  registry --watch--> Informers --keys--> Queue --key--> reconcile --> plan --gate--> apply --write--> registry
//! ```
//!
//! In one process the client calls the registry directly and passes `Arc`s; over the network it is gRPC. A component
//! cannot tell.

pub mod clock;

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Key, KindRef, Object, Revision, Status};
use futures::stream::BoxStream;
use serde_json::Value;

/// The one door to the cluster for every component.
///
/// The identity on whose behalf it reads and writes belongs to the client: it is named when the client is made.
#[async_trait]
pub trait Client: Send + Sync + 'static {
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
    pub fn all(kind: KindRef) -> Interest {
        Interest { kind, namespace: None, labels: String::new(), fields: String::new() }
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

/// One write, and the revisions that made its writer act. They make the change log a graph that `coracle trace` walks.
#[derive(Clone, Debug)]
pub struct Write {
    /// What to do.
    pub op: Op,
    /// Why: the revisions whose changes woke the writer. Empty for a person's own act.
    pub causes: Vec<Revision>,
}

/// What a write does. Defaulting, validation and admission apply to each alike.
#[derive(Clone, Debug)]
pub enum Op {
    /// Makes a new object; or, with a subresource, posts to it (`binding`, `eviction`) under the parent's name.
    Create {
        /// The kind of the object, or of the subresource's parent.
        kind: KindRef,
        /// Empty for cluster-scoped kinds.
        namespace: String,
        /// The parent's name and the subresource.
        sub: Option<(String, &'static str)>,
        /// The object.
        object: Value,
    },
    /// Replaces an object, or its `status`. A `resourceVersion` inside must match.
    Update {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<&'static str>,
        /// The whole new object.
        object: Value,
    },
    /// Changes parts of an object. A `resourceVersion` or `uid` in the patch must match.
    Patch {
        /// Whose.
        key: Key,
        /// Such as `status`.
        sub: Option<&'static str>,
        /// What form the patch has.
        form: PatchForm,
        /// The patch.
        patch: Value,
    },
    /// Asks for an object to go.
    Delete {
        /// Which.
        key: Key,
        /// Only this one, not a namesake.
        uid: Option<String>,
        /// Only if it has not changed since.
        revision: Option<Revision>,
        /// Seconds; `None` for the object's own.
        grace_seconds: Option<i64>,
        /// What happens to its dependents; `None` for the kind's default.
        propagation: Option<Propagation>,
    },
}

/// The forms of a patch that components use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/json-patch+json`.
    Json,
}

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// Why a call as a whole failed. What happened to one item of a write is its [`Status`].
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
}
