//! What one run of one key may use, and what it leaves behind for the next.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Object, Revision};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::plan::Action;
use crate::deadline::{ANSWER, in_time};
use crate::write::Outcomes;
use crate::{Client, Clock, Error, Gate, Informers, Op, Write};

/// When to look at a key again that has been reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something changes.
    Done,
    /// When something changes, or after this time.
    After(Duration),
}

/// What one run has written.
#[derive(Default)]
pub(super) struct Wrote {
    pub mark: Option<Mark>,
    pub revisions: Vec<Revision>,
}

/// What a key has to wait for before it is looked at again.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// The informers hold this revision.
    Written(Revision),
    /// A write broke off: it may have happened, at a revision that nobody told.
    Unknown,
}

/// What one run of one key may use.
pub struct Ctx {
    pub(super) controller: &'static str,
    pub(super) key: Key,
    pub(super) causes: Vec<Revision>,
    pub(super) client: Arc<dyn Client>,
    pub(super) informers: Informers,
    pub(super) clock: Clock,
    pub(super) gate: Gate,
    pub(super) wrote: Arc<Mutex<Wrote>>,
}

impl Ctx {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The stores.
    pub fn informers(&self) -> &Informers {
        &self.informers
    }

    /// For reads that must not come from the stores. Writes go through [`Ctx::write`].
    pub fn client(&self) -> &dyn Client {
        &*self.client
    }

    /// The revisions whose changes woke this run, oldest first.
    pub fn causes(&self) -> &[Revision] {
        &self.causes
    }

    /// Shows a plan to the gate, as a whole.
    ///
    /// # Errors
    /// [`Error::Held`] by a closed gate.
    pub(super) fn pass(&self, actions: &[Action]) -> Result<(), Error> {
        if actions.is_empty() { Ok(()) } else { self.gate.pass(self.controller, &self.key, actions) }
    }

    /// Writes a batch on this key's behalf: through the gate, with the causes, and noting the revisions, so that the next
    /// run sees them. An outcome for each item, in order.
    ///
    /// # Errors
    /// [`Error::Held`] by a closed gate; else as [`Client::write`]. What happened to an item is in its outcome.
    pub async fn write(&self, ops: Vec<Op>) -> Result<Outcomes, Error> {
        self.pass(&ops.iter().cloned().map(Action::write).collect::<Vec<_>>())?;
        self.write_let_through(ops).await
    }

    /// Writes a batch of a plan that the gate has let through.
    pub(super) async fn write_let_through(&self, ops: Vec<Op>) -> Result<Outcomes, Error> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let actor = self.controller.to_owned();
        let write = |op| Write { op, causes: self.causes.clone(), actor: actor.clone() };
        let writes = ops.into_iter().map(write).collect();
        let outcomes = match in_time(ANSWER, self.client.write(writes)).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if matches!(error, Error::Unreachable(_) | Error::Malformed(_)) {
                    self.wrote.lock().mark = Some(Mark::Unknown);
                }
                return Err(error);
            }
        };
        for object in outcomes.iter().flatten() {
            self.note(object);
        }
        Ok(outcomes)
    }

    fn note(&self, object: &Object) {
        let mut wrote = self.wrote.lock();
        wrote.revisions.push(object.revision);
        // What no store here shows completely need not be waited for.
        if !self.informers.holds_all_of(&object.key.kind) {
            return;
        }
        match &mut wrote.mark {
            Some(Mark::Unknown) => {}
            Some(Mark::Written(revision)) => *revision = (*revision).max(object.revision),
            mark @ None => *mark = Some(Mark::Written(object.revision)),
        }
    }
}
