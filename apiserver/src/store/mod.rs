//! The one door to the disk.
//!
//! ```text
//!  commit --queue--> writer: check, number, one batch, one sync --publish--> registry --answer--> commit
//! ```
//!
//! On disk stands `base`, the world as it was at some revision, and `log`, every change since. The world as it is now
//! is the one with the other played onto it, so each write costs its bytes once; compaction folds the oldest part
//! of the log into the base.

mod embedded;
mod record;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::{Key, Revision};
use jiff::Timestamp;

use crate::registry::card::Card;
pub use embedded::{Embedded, Marks, Opened};

/// The one door to cluster state.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes a change durable, publishes it to the subscriber, then answers with its revision.
    async fn commit(&self, change: Change) -> Result<Revision, StoreError>;

    /// Whether the store still takes writes; the text says why not.
    fn health(&self) -> Result<(), String>;

    /// Takes what is queued to the disk and lets go of it.
    async fn close(&self);
}

/// What the store calls with every durable batch, in order of revision, before it answers the batch's writers.
pub type Publish = Box<dyn Fn(Vec<Committed>) + Send>;

/// Everything that lives, with the changes that led there from the base.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The world at revision `floor`.
    pub base: Vec<(Key, Revision, Bytes)>,
    /// Everything up to here is folded into the base.
    pub floor: Revision,
    /// Every change after it, in order.
    pub log: Vec<Committed>,
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
    pub card: Arc<Card>,
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
    /// The object at a revision, and where in it the digits end.
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
    /// Its number.
    pub revision: Revision,
    /// When it was made.
    pub time: Timestamp,
    /// By whom.
    pub actor: String,
    /// The revisions that made the writer act.
    pub causes: Vec<Revision>,
    /// What it did.
    pub verb: Verb,
    /// To what.
    pub key: Key,
    /// The object after it; for a delete the last state, with the revision of the delete.
    pub json: Bytes,
    /// The card of the [`Change`]; absent for what was read from disk.
    pub card: Option<Arc<Card>>,
}

/// How much of the log is kept: at most this many changes, and none older than this.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes.
    pub count: usize,
    /// Seconds.
    pub age_seconds: i64,
}

impl Default for Bounds {
    /// Upstream keeps five minutes of changes. Twenty thousand let a watch resume and a trace reach back for hours in a small
    /// cluster, and cost some tens of megabytes of disk at most.
    fn default() -> Bounds {
        Bounds { count: 20_000, age_seconds: 24 * 3600 }
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
