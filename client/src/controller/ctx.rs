//! What one run of one key may use, and what it leaves behind for the next.

use std::sync::Arc;

use coracle_api::{Object, Revision};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::deadline::{ANSWER, in_time};
use crate::write::Outcomes;
use crate::{Client, Clock, Error, Informers, Op, Write};

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
    /// A write broke off: it may have happened, at an unknown revision.
    Unknown,
}

/// What one run of one key may use.
pub struct Ctx {
    pub(super) controller: &'static str,
    pub(super) causes: Vec<Revision>,
    pub(super) client: Arc<dyn Client>,
    pub(super) informers: Informers,
    pub(super) clock: Clock,
    pub(super) wrote: Mutex<Wrote>,
}

impl Ctx {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For reads that must not come from the stores. Writes are what plans are for.
    pub fn client(&self) -> &dyn Client {
        &*self.client
    }

    /// Writes a batch on this key's behalf: with the causes, and noting the revisions, so that the next run sees them. An
    /// outcome for each item, in order.
    ///
    /// # Errors
    /// As [`Client::write`]. What happened to an item is in its outcome.
    pub(super) async fn write(&self, ops: Vec<Op>) -> Result<Outcomes, Error> {
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

    /// What it has written.
    pub(super) fn into_wrote(self) -> Wrote {
        self.wrote.into_inner()
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
