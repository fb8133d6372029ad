//! The commit: a write and what belongs to it become one batch for the store, and refusals of the store become a `Status`.

use std::sync::Arc;

use coracle_api::status::Details;
use coracle_api::{Errors, Key, Object, Path, Revision, Status};
use serde_json::Value;

use super::operation::Context;
use super::under_way::busy;
use crate::admission::attributes::Companion;
use crate::entry::claims::Claim;
use crate::entry::{Entry, Summary, encoding};
use crate::large::LARGEST;
use crate::registry::Registry;
use crate::store::{self, Batch, Conflict, Expected, StoreError, Verb};

/// How often a write whose object changed under it is tried again before the client is told.
pub(super) const TRIES: usize = 8;

/// Why a change did not happen.
pub(super) enum Failure {
    /// Somebody wrote first: read again.
    Conflict,
    /// A companion object (see [`Companion`]) was changed by somebody else, or another object took the address or port that
    /// this one was given: read both again.
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

    /// What a conflict is to a write whose own object has this key.
    fn from_conflict(conflict: Conflict, own: Option<&Key>) -> Failure {
        match conflict {
            Conflict::Changed { key, .. } if Some(&key) == own => Failure::Conflict,
            Conflict::Held { key, claim: Claim::PodRange(range), holder } => {
                Failure::refused(range_taken(&key, &range, &holder))
            }
            // What was found free was taken meanwhile: it is looked for again.
            Conflict::Changed { .. } | Conflict::Held { .. } => Failure::Raced,
        }
    }
}

/// 422: two nodes would give their pods the same addresses. Upstream leaves this to whoever hands the ranges out.
fn range_taken(node: &Key, range: &str, holder: &Key) -> Status {
    let (mut errors, spec) = (Errors::new(), Path::root("spec"));
    let why = format!("provided range is already allocated to node {:?}", holder.name);
    errors.invalid(&spec.child("podCIDRs"), range, &why);
    Status::invalid(&node.kind, &node.name, &errors)
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
    ) -> store::Proposed {
        store::Proposed {
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
        mut changes: Vec<store::Proposed>,
        with: Vec<Companion>,
    ) -> Result<Vec<Arc<Object>>, Failure> {
        let own = changes.first().map(|change| change.key.clone());
        changes.extend(with.iter().map(|Companion { read, object }| {
            let expected = Expected::At(read.object.revision);
            self.change(context, &read.object.key, expected, Verb::Update, object)
        }));
        changes.iter().try_for_each(not_too_large)?;
        let outcomes = self.store.commit(Batch::Together(changes)).await.map_err(|error| match error {
            StoreError::Conflict(conflict) => Failure::from_conflict(conflict, own.as_ref()),
            StoreError::Busy => Failure::refused(busy()),
            full @ StoreError::Full { .. } => Failure::refused(no_room(&full)),
            away @ StoreError::Unreachable { .. } => Failure::refused(unreachable(&away)),
            silent @ StoreError::Unknown { .. } => Failure::Unknown(Box::new(unknown(&silent))),
            // Upstream hands etcd's error on as it is.
            large @ StoreError::TooLarge { .. } => {
                Failure::refused(Status::failure(500, "", large.to_string()))
            }
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
fn not_too_large(change: &store::Proposed) -> Result<(), Failure> {
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

/// 503: nothing was changed, and it may be tried again.
fn unreachable(error: &StoreError) -> Status {
    let details = Details { retry_after_seconds: 1, ..Details::default() };
    Status::failure(503, "ServiceUnavailable", error.to_string()).with_details(details)
}

/// 504: it may have happened.
fn unknown(error: &StoreError) -> Status {
    Status::failure(504, "Timeout", format!("Timeout: {error}"))
}

/// 507: the disk is full. No reason of upstream's says so (etcd's full database comes as a 500 there), and a client is not told
/// to try again soon: somebody has to act first.
fn no_room(error: &StoreError) -> Status {
    let advice = "objects can be read and deleted; other writes go on by themselves once there is room";
    Status::failure(507, "InsufficientStorage", format!("{error}; {advice}"))
}
