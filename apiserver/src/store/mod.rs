//! The interface of what is kept.
//!
//! ```text
//!  commit --queue--> writer: check, number, one write, one sync --publish--> registry --answer--> commit
//!                      log -------oldest files, by another thread-------> base (sled)
//! ```
//!
//! [`Store`] is what the registry knows; it is handed one and cannot tell which. [`Embedded`] keeps everything on the disk of
//! one machine: `base`, the world as it was at some revision, and `log`, every change since. The world as it is now is the
//! one with the other played onto it, so each write costs its bytes once; another thread folds the oldest files of the log
//! into the base. [`Etcd`] keeps the same two in etcd, for several servers. [`Memory`] keeps nothing, for tests.

mod base;
mod change;
pub(crate) mod disk;
mod embedded;
pub mod etcd;
mod fold;
pub(crate) mod frame;
mod health;
mod ledger;
mod log;
mod memory;
mod opening;
pub(crate) mod record;
mod spare;
mod writer;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod suite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::Revision;

pub use change::{Batch, Committed, Conflict, Expected, Outcome, Proposed, Verb};
pub use embedded::Embedded;
pub use etcd::Etcd;
pub use memory::Memory;

/// No change has this revision or a lower one: 0 and 1 mean something else to clients ("any", and what people type when
/// they mean "the beginning"), and a watch from there must be told to list first, as on a cluster with a past.
const BEFORE_ALL: Revision = Revision(9);

/// The interface of a store. Every implementation passes the same tests.
#[async_trait]
pub trait Store: Send + Sync {
    /// Opens it, shows the follower everything that lives and the change log, and from then on every change as it becomes
    /// durable, in order of revision and without a gap, whoever made it.
    ///
    /// # Errors
    /// Whatever keeps it from being opened; never an empty cluster instead.
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError>;

    /// Makes a batch durable, then answers: for each change the object as it left it, or why it was refused.
    ///
    /// The follower may hear of the change before or after the answer; where several servers share a store, after.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a batch was to be made together and cannot be. Of any other error the outcome is unknown:
    /// the batch may turn out to be durable, whole.
    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError>;

    /// Whether other servers may write to it, too.
    fn is_shared(&self) -> bool {
        false
    }

    /// Returns when the follower has been told of every change that any server was answered before this was asked.
    ///
    /// # Errors
    /// That cannot be said now.
    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Lets go of what is too old, which must not wait for the next write. Comes back at once.
    fn age(&self);

    /// Whether the store still takes writes; the text says why not.
    ///
    /// # Errors
    /// The text.
    fn health(&self) -> Result<(), String>;

    /// Comes back, with what happened, only if a part of the store has come to an end that it should not have, such as by
    /// a panic. The process then ends in order: half a store must not go on.
    async fn broken(&self) -> String {
        std::future::pending().await
    }

    /// Takes what is queued to the disk and lets go of it.
    async fn close(&self);
}

/// Who holds what lives, and is told of every change.
pub trait Follower: Send + Sync {
    /// Takes what there is. What was held before is void: a store that several servers share may have to begin again.
    fn load(&self, loaded: Loaded);

    /// Takes durable changes, in order of revision.
    fn publish(&self, changes: Vec<Committed>);
}

/// What a store holds when it is opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Everything that lived at the floor, each as the change that led to it, in no order.
    pub base: Vec<Committed>,
    /// The revision after which the log is complete.
    pub floor: Revision,
    /// Every change since, in order.
    pub log: Vec<Committed>,
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

/// Into how many files the log on disk is divided, which go one by one.
const FILES: u64 = 16;

impl Bounds {
    /// How large a file of the log becomes.
    fn file_bytes(&self) -> u64 {
        self.disk_bytes / FILES
    }
}

impl Default for Bounds {
    /// Upstream keeps five minutes of changes. These let a watch resume and a trace reach back for hours in a small cluster, and
    /// are what a laptop does not notice.
    fn default() -> Bounds {
        Bounds { count: 20_000, memory_bytes: 16 << 20, disk_bytes: 64 << 20, age_seconds: 24 * 3600 }
    }
}

/// Why the store refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition of a batch that was to be made together does not hold; nothing was changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// More writes are queued than the disk can take in good time.
    #[error("the write queue is full")]
    Busy,
    /// It was not loaded, or was closed.
    #[error("the store is closed: the server is starting or going down")]
    Closed,
    /// There is no room on the disk, and nothing was written. What only takes away may still be let through.
    #[error("no room is left on the disk for {path}: {why}")]
    Full {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The disk fails, and nothing was written.
    #[error("cannot write to {path}: {why}; nothing was changed")]
    Unwritten {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A write failed. Whether it is on disk may show only when the store is opened again.
    #[error("cannot write: {0}")]
    Disk(String),
    /// The servers that keep it do not answer, and nothing was written.
    #[error("{why}; nothing was changed")]
    Unreachable {
        /// What is known.
        why: String,
    },
    /// They have not answered in time. Whether the write was made shows once they do.
    #[error("{why}; whether the change was made is not known")]
    Unknown {
        /// What is known.
        why: String,
    },
    /// More than is taken in one step, and nothing was written. The text is etcd's.
    #[error("etcdserver: request is too large")]
    TooLarge {
        /// How many changes were to be made together.
        changes: usize,
    },
    /// The disk does not let it be opened.
    #[error("cannot open {path}: {why}")]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
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

impl StoreError {
    /// What the system says when something is opened. A disk without room is no damage: it passes.
    fn open(path: &Path, error: &std::io::Error) -> StoreError {
        let (path, why) = (path.into(), error.to_string());
        if disk::is_full(error) { StoreError::Full { path, why } } else { StoreError::Open { path, why } }
    }

    fn damaged(path: &Path, why: String) -> StoreError {
        StoreError::Damaged { path: path.into(), why }
    }
}
