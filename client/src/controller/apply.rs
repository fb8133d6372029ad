//! Carries a plan's actions out: writes in batches, events, follow-ups. The only place where a controller acts.

use std::sync::Arc;

use coracle_api::{Object, Status};

use super::ctx::Ctx;
use super::plan::{Action, NewEvent, Refusal};
use crate::{Error, EventRecorder, Op};

/// The most writes in one batch: large enough to share a flush, small enough to let others in between.
const BATCH: usize = 500;

/// Does the actions in order, then the follow-ups of those that were done. Returns what was refused.
///
/// # Errors
/// A call that failed as a whole: what became of its writes is unknown, and nothing more is done.
pub async fn carry_out(
    ctx: &Ctx,
    events: &EventRecorder,
    actions: Vec<Action>,
) -> Result<Vec<Refusal>, Error> {
    let mut run = Run { ctx, events, next: Vec::new(), refused: Vec::new() };
    let mut wave = actions;
    while !wave.is_empty() {
        let mut batch = Vec::new();
        for action in wave {
            match &action.op {
                None => run.done(&action, ""),
                Some(_) if action.times == 1 => batch.push(action),
                Some(op) => {
                    run.write(std::mem::take(&mut batch)).await?;
                    run.create_many(&action, op).await?;
                }
            }
            if batch.len() == BATCH {
                run.write(std::mem::take(&mut batch)).await?;
            }
        }
        run.write(batch).await?;
        wave = std::mem::take(&mut run.next);
    }
    Ok(run.refused)
}

struct Run<'a> {
    ctx: &'a Ctx,
    events: &'a EventRecorder,
    /// What follows the actions that were done.
    next: Vec<Action>,
    refused: Vec<Refusal>,
}

impl Run<'_> {
    async fn write(&mut self, batch: Vec<Action>) -> Result<(), Error> {
        let ops = batch.iter().filter_map(|action| action.op.clone()).collect();
        let outcomes = self.ctx.write(ops).await?;
        for (action, outcome) in batch.iter().zip(outcomes) {
            self.note(action, outcome);
        }
        Ok(())
    }

    async fn create_many(&mut self, action: &Action, op: &Op) -> Result<(), Error> {
        let (mut left, mut size) = (action.times, 1);
        while left > 0 {
            size = size.min(left).min(BATCH);
            let outcomes = self.ctx.write(vec![op.clone(); size]).await?;
            let mut all_done = true;
            for outcome in outcomes {
                all_done &= self.note(action, outcome);
            }
            if !all_done {
                return Ok(());
            }
            left -= size;
            size *= 2;
        }
        Ok(())
    }

    /// Takes in what became of one write. Returns whether it was done.
    fn note(&mut self, action: &Action, outcome: Result<Arc<Object>, Status>) -> bool {
        match outcome {
            Ok(object) => {
                self.done(action, &object.key.name);
                true
            }
            Err(status) => {
                if !leaves_nothing_to_do(action, &status) {
                    self.tell(action.refused.as_ref(), "{refusal}", &status.to_string());
                    self.refused.push(Refusal { action: action.clone(), status });
                }
                false
            }
        }
    }

    fn done(&mut self, action: &Action, name: &str) {
        self.tell(action.done.as_ref(), "{name}", name);
        self.next.extend(action.then.iter().cloned());
    }

    fn tell(&self, event: Option<&NewEvent>, placeholder: &str, text: &str) {
        if let Some(event) = event {
            let message = event.message.replace(placeholder, text);
            self.events.emit(event.about.clone(), event.kind, event.reason, "", message);
        }
    }
}

/// Whether a refusal says that the action is no longer needed: the object has gone meanwhile, or the namespace in which it
/// was to be made is going.
fn leaves_nothing_to_do(action: &Action, status: &Status) -> bool {
    let creates = matches!(action.op, Some(Op::Create { .. }));
    let gone = !creates && status.code == 404;
    let terminating = creates && is_terminating(status);
    gone || terminating || action.fine_if.is_some_and(|reason| reason == status.reason)
}

/// Whether the server refused because the namespace is being deleted.
fn is_terminating(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}
