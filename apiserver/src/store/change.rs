//! What writers ask of a store, and what they get.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Key, Object, Revision};
use jiff::Timestamp;

use crate::entry::Summary;
use crate::entry::claims::Claim;
use crate::entry::encoding::{Encoded, Framed};

/// What a record of the log holds beside the object, in bytes, unless names and causes are uncommonly long.
const BESIDE: usize = 512;

/// Changes that are handed to the store in one call.
#[derive(Clone, Debug)]
pub enum Batch {
    /// All of them or none: a condition that does not hold refuses the whole batch, and a crash leaves all or nothing.
    Together(Vec<Proposed>),
    /// Each for itself: one that is refused does not touch the others.
    Each(Vec<Proposed>),
}

impl Batch {
    /// The changes, in order.
    pub fn changes(&self) -> &[Proposed] {
        let (Batch::Together(changes) | Batch::Each(changes)) = self;
        changes
    }

    /// About how many bytes it brings to the log: the objects, and what stands beside each.
    pub(super) fn bytes(&self) -> usize {
        self.changes().iter().map(|change| change.body.len() + BESIDE).sum()
    }

    /// Whether it only takes away. Such a batch is let through on a disk that is nearly full. What becomes of an object that is
    /// on its way out belongs to that: the mark, the finalizers that go, the status by which an agent says that a pod has ended.
    pub(super) fn frees_room(&self) -> bool {
        self.changes().iter().all(|change| change.verb == Verb::Delete || change.summary.deleting)
    }
}

/// One change that somebody wants; durable, it is a [`Committed`] one.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// Of what.
    pub key: Key,
    /// What must be there for the change to be made.
    pub expected: Expected,
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
    /// The summary of the new object, handed on to the follower so that nothing is decoded twice.
    pub summary: Summary,
}

impl Proposed {
    pub(super) fn numbered(self, revision: Revision) -> Committed {
        let Proposed { key, body, actor, causes, verb, time, summary, .. } = self;
        let Framed { line, json } = body.framed(verb.event(), revision);
        let object = Arc::new(Object { key, revision, json });
        Committed { object, time, actor, causes, verb, summary: Some(summary), line: Some(line) }
    }
}

/// The condition under which a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The object must not exist.
    Absent,
    /// It must be as the writer read it, at this revision.
    At(Revision),
    /// It must be as an earlier change of the same batch leaves it, whatever revision that gets.
    Earlier,
}

impl From<Option<Revision>> for Expected {
    fn from(revision: Option<Revision>) -> Expected {
        revision.map_or(Expected::Absent, Expected::At)
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

    /// The type of the event that a watch without selectors sees.
    pub fn event(self) -> &'static str {
        match self {
            Verb::Create => "ADDED",
            Verb::Update => "MODIFIED",
            Verb::Delete => "DELETED",
        }
    }
}

/// A change that is durable.
#[derive(Clone, Debug)]
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
    /// The summary of the [`Proposed`]; absent for what was read from disk.
    pub summary: Option<Summary>,
    /// The line that tells watches of it, which holds the object's bytes; absent for what was read from disk.
    pub line: Option<Bytes>,
}

impl Committed {
    /// What the object holds from this change on.
    pub fn claims(&self) -> Cow<'_, [Claim]> {
        let kind = &self.object.key.kind;
        match &self.summary {
            _ if self.verb == Verb::Delete || kind.claims.is_none() => Cow::Borrowed(&[]),
            Some(summary) => Cow::Borrowed(&summary.claims),
            None => Cow::Owned(Claim::of(kind, &self.object.value().unwrap_or_default())),
        }
    }
}

/// Somebody wrote first. Read again and plan again; never overwrite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The object is not as the writer had read it.
    #[error("{key} is at revision {found:?}, which is not what was expected: {expected:?}")]
    Changed {
        /// What was to be written.
        key: Key,
        /// What the writer had read.
        expected: Expected,
        /// What is there.
        found: Option<Revision>,
    },
    /// Another object holds what this one claims.
    #[error("{key} cannot have {claim}: {holder} has it")]
    Held {
        /// What was to be written.
        key: Key,
        /// What it claims.
        claim: Claim,
        /// Who has it.
        holder: Key,
    },
}

/// What became of one change: the object as it left it.
pub type Outcome = Result<Arc<Object>, Conflict>;
