//! Where a write becomes durable.

use std::sync::Arc;

use coracle_api::{Key, Object, Revision, Status};
use serde_json::Value;

use super::operation::Context;
use super::tasks::busy;
use crate::admission::attributes::Companion;
use crate::entry::{Entry, Summary, encoding};
use crate::large::LARGEST;
use crate::registry::Registry;
use crate::store::{self, Batch, Expected, StoreError, Verb};

/// How often a write whose object changed under it is tried again before the client is told.
pub(super) const TRIES: usize = 8;

/// Why a change did not happen.
pub(super) enum Failure {
    /// Somebody wrote first: read again.
    Conflict,
    /// The same of an object that was to be written together with it.
    Raced,
    /// It has not happened, for a reason that trying again does not mend.
    Refused(Box<Status>),
    /// The store cannot say whether it has happened.
    Unknown(Box<Status>),
}

impl Failure {
    pub(super) fn refused(status: Status) -> Failure {
        Failure::Refused(Box::new(status))
    }

    /// Whether what the write took for itself, such as an address, must be kept, because the object may be there.
    pub(super) fn keeps(&self) -> bool {
        matches!(self, Failure::Unknown(_))
    }
}

impl Registry {
    /// Makes a change durable. `expected` is the entry that the writer has read. In a dry run nothing is stored, but a
    /// race is noticed all the same.
    pub(super) async fn commit(
        &self,
        context: &Context,
        key: &Key,
        expected: Option<&Entry>,
        verb: Verb,
        object: &Value,
        with: Vec<Companion>,
    ) -> Result<Entry, Failure> {
        if context.dry_run {
            return Ok(unstored(key, object));
        }
        let expected = expected.map(|entry| entry.object.revision).into();
        let change = self.change(context, key, expected, verb, object);
        let made = self.commit_together(context, vec![change], with).await?;
        let object = made.into_iter().next().ok_or_else(nothing_stored)?;
        Ok(Entry::new(object))
    }

    /// A change of one object, as the store takes it.
    pub(super) fn change(
        &self,
        context: &Context,
        key: &Key,
        expected: Expected,
        verb: Verb,
        object: &Value,
    ) -> store::Change {
        store::Change {
            key: key.clone(),
            expected,
            verb,
            body: encoding::encode(&key.kind, object),
            actor: if context.actor.is_empty() { &context.user.user } else { &context.actor }.clone(),
            causes: context.causes.clone(),
            time: self.clock.now(),
            summary: Summary::of(&key.kind, object),
        }
    }

    /// Makes changes durable, all or none, the companions of a write among them, and answers with the objects, in order, once this
    /// server shows them. The first change is the write's own.
    pub(super) async fn commit_together(
        &self,
        context: &Context,
        mut changes: Vec<store::Change>,
        with: Vec<Companion>,
    ) -> Result<Vec<Arc<Object>>, Failure> {
        let own = changes.first().map(|change| change.key.clone());
        changes.extend(with.iter().map(|Companion { read, object }| {
            let expected = Expected::At(read.object.revision);
            self.change(context, &read.object.key, expected, Verb::Update, object)
        }));
        changes.iter().try_for_each(not_too_large)?;
        let outcomes = self.store.commit(Batch::Together(changes)).await.map_err(|error| match error {
            StoreError::Conflict(conflict) if Some(&conflict.key) != own.as_ref() => Failure::Raced,
            StoreError::Conflict(_) => Failure::Conflict,
            StoreError::Busy => Failure::refused(busy()),
            full @ StoreError::Full { .. } => Failure::refused(no_room(&full)),
            closed @ StoreError::Closed => Failure::refused(Status::internal(closed)),
            other => Failure::Unknown(Box::new(Status::internal(other))),
        })?;
        let made: Vec<_> = outcomes.into_iter().collect::<Result<_, _>>().map_err(|_| Failure::Conflict)?;
        if let Some(last) = made.iter().map(|object| object.revision).max() {
            self.state.reach(last).await.map_err(|status| Failure::Unknown(Box::new(status)))?;
        }
        Ok(made)
    }
}

/// An object that no request could bring whole is not stored either: patches could let one grow without end, and every write,
/// event and list would cost all of it. Upstream has the limit of etcd, 1.5 MiB of protobuf. What goes is not held up.
fn not_too_large(change: &store::Change) -> Result<(), Failure> {
    if change.verb == Verb::Delete || change.body.len() <= LARGEST {
        return Ok(());
    }
    let text = format!("Request entity too large: limit is {LARGEST}, and {} would have more", change.key);
    Err(Failure::refused(Status::too_large(text)))
}

/// A store that answers a batch with too few outcomes.
pub(super) fn nothing_stored() -> Failure {
    Failure::refused(Status::internal("nothing was stored"))
}

/// An object that is only shown.
pub(super) fn unstored(key: &Key, object: &Value) -> Entry {
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok());
    let json = encoding::encode_whole(&key.kind, object).into();
    let object = Object { key: key.clone(), revision: Revision(revision.unwrap_or_default()), json };
    Entry::new(Arc::new(object))
}

/// 507: the disk is full. No reason of upstream's says so (etcd's full database comes as a 500 there), and a client is not told
/// to try again soon: somebody has to act first.
fn no_room(error: &StoreError) -> Status {
    let advice = "objects can be read and deleted; other writes go on by themselves once there is room";
    Status::failure(507, "InsufficientStorage", format!("{error}; {advice}"))
}
