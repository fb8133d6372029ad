//! The one door to the disk.
//!
//! ```text
//!  commit --queue--> writer: check, number, one write, one sync --publish--> registry --answer--> commit
//!                      log -------oldest files, by another thread-------> base (sled)
//! ```
//!
//! On disk stands `base`, the world as it was at some revision, and `log`, every change since. The world as it is now
//! is the one with the other played onto it, so each write costs its bytes once; another thread folds the oldest files
//! of the log into the base.

mod base;
mod embedded;
mod log;
mod record;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::{Key, Object, Revision};
use jiff::Timestamp;

use crate::registry::card::Card;
pub use embedded::{Embedded, Opened};

/// The one door to cluster state.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes a change durable, publishes it to the subscriber, then answers with the object as it left it.
    async fn commit(&self, change: Change) -> Result<Arc<Object>, StoreError>;

    /// Lets go of what is too old, which must not wait for the next write. Comes back at once.
    fn age(&self);

    /// Whether the store still takes writes; the text says why not.
    fn health(&self) -> Result<(), String>;

    /// Takes what is queued to the disk and lets go of it.
    async fn close(&self);
}

/// Who holds what lives, and is told of every change.
pub trait Subscriber: Send {
    /// At which revision an object lives.
    fn revision_of(&self, key: &Key) -> Option<Revision>;

    /// Takes a durable batch, in order of revision, before its writers are answered.
    fn publish(&self, batch: Vec<Committed>);
}

/// One change that somebody wants.
#[derive(Debug)]
pub struct Change {
    /// Of what.
    pub key: Key,
    /// The revision at which the writer read it; `None`: it must not exist.
    pub expected: Option<Revision>,
    /// What to do.
    pub verb: Verb,
    /// The new object, or for a delete its last state.
    pub body: Encoded,
    /// Who wants it.
    pub actor: String,
    /// The revisions that made the writer act.
    pub causes: Vec<Revision>,
    /// When.
    pub time: Timestamp,
    /// The index card of the new object, handed on to the subscriber so that nothing is decoded twice.
    pub card: Card,
}

impl Change {
    fn numbered(self, revision: Revision) -> Committed {
        let object = Object { key: self.key, revision, json: self.body.at(revision) };
        let Change { actor, causes, verb, time, card, .. } = self;
        Committed { object: Arc::new(object), time, actor, causes, verb, card: Some(card) }
    }
}

/// An encoded object with a gap where its revision, which only the writer knows, will stand.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Everything before the digits of the revision.
    pub head: Vec<u8>,
    /// Everything behind them.
    pub tail: Vec<u8>,
}

impl Encoded {
    /// The object at a revision.
    pub fn at(&self, revision: Revision) -> Bytes {
        let digits = revision.to_string();
        let mut bytes = Vec::with_capacity(self.head.len() + digits.len() + self.tail.len());
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(digits.as_bytes());
        bytes.extend_from_slice(&self.tail);
        bytes.into()
    }
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new object.
    Create,
    /// A changed one.
    Update,
    /// One that is gone.
    Delete,
}

impl Verb {
    /// The word in the log.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// A change that is on disk.
#[derive(Debug)]
pub struct Committed {
    /// The object after it; for a delete the last state, with the revision of the delete. Its revision is the change's number.
    pub object: Arc<Object>,
    /// When it was made.
    pub time: Timestamp,
    /// By whom.
    pub actor: String,
    /// The revisions that made the writer act.
    pub causes: Vec<Revision>,
    /// What it did.
    pub verb: Verb,
    /// The card of the [`Change`]; absent for what was read from disk.
    pub card: Option<Card>,
}

/// How much of the past is kept: for watches to resume from, for pages of old lists, for `coracle trace`.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes in memory.
    pub count: usize,
    /// Bytes in memory that only the past needs.
    pub memory_bytes: usize,
    /// Bytes of full files of the log.
    pub disk_bytes: u64,
    /// Seconds, in memory exactly, on disk a file at a time.
    pub age_seconds: i64,
}

impl Default for Bounds {
    /// Upstream keeps five minutes of changes. These let a watch resume and a trace reach back for hours in a small cluster, and
    /// are what a laptop does not notice.
    fn default() -> Bounds {
        Bounds { count: 20_000, memory_bytes: 16 << 20, disk_bytes: 64 << 20, age_seconds: 24 * 3600 }
    }
}

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody wrote first. Read again and plan again; never overwrite.
    #[error("{key} is at revision {found:?}, not {expected:?}")]
    Conflict {
        /// What was to be written.
        key: Key,
        /// What the writer had read.
        expected: Option<Revision>,
        /// What is there.
        found: Option<Revision>,
    },
    /// More writes are queued than the disk can take in good time.
    #[error("the write queue is full")]
    Busy,
    /// A write failed; nothing more is written until the store is opened again, so that memory and disk agree.
    #[error("cannot write: {0}")]
    Disk(String),
    /// Another process has the directory open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else than a store of this version.
    #[error("{path} is not a data directory of this version of coracle: {found}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was there instead.
        found: String,
    },
    /// What is on disk cannot be read.
    #[error("{path} is damaged: {why}; restore it from a copy, or start with an empty directory")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The first thing wrong.
        why: String,
    },
}
