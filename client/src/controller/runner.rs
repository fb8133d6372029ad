//! What runs a controller: keys are looked at by a few workers, and no key in a state older than what its own last run wrote.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Revision};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::apply::carry_out;
use super::contract::Controller;
use super::ctx::{Ctx, Mark, Wrote};
use super::wakes::Wakes;
use crate::deadline::{ANSWER, in_time};
use crate::{Client, Clock, Error, EventRecorder, Gate, Informers, Interest, Queue};

/// What a controller runs on: a door to the cluster, copies of its objects, a clock and a gate. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    client: Arc<dyn Client>,
    informers: Informers,
    clock: Clock,
    gate: Gate,
}

impl Runner {
    /// With an open gate. The controller that is driven waits for what is asked for by this handle of the informers.
    pub fn new(client: Arc<dyn Client>, informers: Informers, clock: Clock) -> Runner {
        Runner { client, informers, clock, gate: Gate::open() }
    }

    /// The gate that its plans pass.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Runner {
        self.gate = gate;
        self
    }

    /// Lets a controller look at its keys until cancelled.
    pub async fn drive<C: Controller>(self, controller: C, cancel: CancellationToken) {
        let events = EventRecorder::new(self.client.clone(), self.clock.clone(), C::REPORTS_AS, "");
        let (controller, queue) = (Arc::new(controller), Arc::new(Queue::new()));
        let wakes =
            Wakes::new(self.informers.clone(), queue.clone(), self.client.kinds().clone(), cancel.clone());
        let _ = controller.wakes(wakes);
        if !self.informers.synced_or_cancelled(&cancel).await {
            return;
        }
        let work = Arc::new(Work { on: self, controller, events, queue, written: Mutex::default() });
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..C::WORKERS.max(1) {
            let work = work.clone();
            tasks.spawn(async move { work.work().await });
        }
        tasks.spawn(retry_held(work.clone(), cancel.clone()));
        cancel.cancelled().await;
        work.queue.close();
        while tasks.join_next().await.is_some() {}
    }
}

/// A controller at work.
struct Work<C> {
    on: Runner,
    controller: Arc<C>,
    events: EventRecorder,
    queue: Arc<Queue<Key>>,
    /// For each key what it has to wait for.
    written: Mutex<HashMap<Key, Mark>>,
}

impl<C: Controller> Work<C> {
    async fn work(&self) {
        while let Some((key, causes)) = self.queue.get().await {
            if let Err(error) = self.catch_up(&key).await {
                tracing::debug!(controller = C::NAME, %key, %error, "cannot see its own last write yet");
                self.queue.remember(&key, causes);
                self.finish(&key, Err(error), &[]);
                continue;
            }
            let ctx = self.ctx(causes);
            // A fault in one key's plan must not stop the others.
            let run = AssertUnwindSafe(self.look(&ctx, &key)).catch_unwind();
            let result = run.await.unwrap_or_else(|_| Err(Error::Panicked));
            let Wrote { mark, revisions } = ctx.into_wrote();
            if let Some(mark) = mark {
                self.written.lock().insert(key.clone(), mark);
            } else if result.is_ok() {
                self.on.gate.withdraw(C::NAME, &key);
            }
            self.finish(&key, result, &revisions);
        }
    }

    /// One look at one key: observe, plan, and if the gate lets it through, carry out. Returns when to look again even if
    /// nothing changes.
    #[tracing::instrument(skip_all, fields(controller = C::NAME, %key))]
    async fn look(&self, ctx: &Ctx, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(observed) = self.controller.observe(ctx, key).await? else { return Ok(None) };
        let plan = C::plan(&observed, ctx.now());
        if !plan.actions.is_empty() {
            self.on.gate.pass(C::NAME, key, &plan.actions)?;
        }
        let refusals = carry_out(ctx, &self.events, plan.actions).await?;
        let Some(first) = refusals.first() else { return Ok(plan.look_again) };
        let status = first.status.clone();
        let more = C::refused(&observed, &refusals, ctx.now());
        carry_out(ctx, &self.events, more).await?;
        Err(Error::Refused(status))
    }

    fn finish(&self, key: &Key, result: Result<Option<Duration>, Error>, wrote: &[Revision]) {
        match result {
            Ok(look_again) => {
                self.queue.forget(key);
                if let Some(wait) = look_again {
                    self.queue.add_after(key.clone(), wait);
                }
            }
            // The gate says when to try again.
            Err(Error::Held) => {}
            Err(error) => {
                // A conflict is the ordinary way to learn that somebody wrote first.
                if error.is("Conflict") {
                    tracing::debug!(controller = C::NAME, %key, %error, "trying again");
                } else {
                    tracing::warn!(controller = C::NAME, %key, %error, "trying again");
                }
                self.queue.retry(key.clone(), wrote);
            }
        }
        self.queue.done(key);
    }

    /// Read-your-writes: waits until the stores hold what the last run for this key wrote.
    async fn catch_up(&self, key: &Key) -> Result<(), Error> {
        let mark = self.written.lock().get(key).copied();
        let revision = match mark {
            None => return Ok(()),
            Some(Mark::Written(revision)) => revision,
            // The write, if it happened, is no younger than what the server says now.
            Some(Mark::Unknown) => {
                let nothing = Interest::all(&key.kind).where_fields("metadata.name=-");
                let (_, revision) = in_time(ANSWER, self.on.client.list(&nothing)).await?;
                self.written.lock().insert(key.clone(), Mark::Written(revision));
                revision
            }
        };
        if let Err(error) = self.on.informers.wait_for(revision).await {
            // The server may have been put back to an earlier time, in which this revision never comes: ask where it is.
            self.written.lock().insert(key.clone(), Mark::Unknown);
            return Err(error);
        }
        self.written.lock().remove(key);
        Ok(())
    }

    fn ctx(&self, causes: Vec<Revision>) -> Ctx {
        let Runner { client, informers, clock, .. } = &self.on;
        Ctx {
            controller: C::NAME,
            causes,
            client: client.clone(),
            informers: informers.clone(),
            clock: clock.clone(),
            wrote: Mutex::default(),
        }
    }
}

/// Looks at held keys again whenever the gate lets plans pass.
async fn retry_held<C: Controller>(work: Arc<Work<C>>, cancel: CancellationToken) {
    let mut opened = work.on.gate.opened();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            changed = opened.changed() => if changed.is_err() { return },
        }
        for key in work.on.gate.retry(C::NAME) {
            work.queue.add(key, None);
        }
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
