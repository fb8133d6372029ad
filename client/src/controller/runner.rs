//! What runs a controller: keys are looked at by a few workers, and no key in a state older than what its own last run wrote.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use coracle_api::{Key, Revision};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::apply::carry_out;
use super::contract::Controller;
use super::ctx::{Ctx, Mark, Requeue, Wrote};
use super::wakes::Wakes;
use crate::deadline::{ANSWER, in_time};
use crate::typed::Typed;
use crate::{Change, Client, Clock, Error, EventRecorder, Gate, Informers, Interest, Queue};

type Pending = Pin<Box<dyn Future<Output = Result<Requeue, Error>> + Send>>;

/// A controller: a name, what wakes it, and how many keys it reconciles at once.
pub struct Runner {
    name: &'static str,
    informers: Informers,
    client: Arc<dyn Client>,
    clock: Clock,
    gate: Gate,
    workers: usize,
    queue: Arc<Queue<Key>>,
    /// For each key what it has to wait for.
    written: Arc<Mutex<HashMap<Key, Mark>>>,
}

impl Runner {
    /// A controller with one worker and an open gate.
    pub fn new(name: &'static str, informers: Informers, client: Arc<dyn Client>, clock: Clock) -> Runner {
        Runner {
            name,
            informers,
            client,
            clock,
            gate: Gate::open(),
            workers: 1,
            queue: Arc::new(Queue::new()),
            written: Arc::default(),
        }
    }

    /// How many keys are reconciled at once.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Runner {
        self.workers = workers.max(1);
        self
    }

    /// The gate that its writes pass.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Runner {
        self.gate = gate;
        self
    }

    /// As [`Wakes::on`], for controllers that are not of the common shape yet.
    #[must_use]
    pub fn watches<K: Typed>(
        self,
        keys: impl Fn(&Change<'_, K>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Runner {
        let _ = self.wakes().on::<K>(keys);
        self
    }

    /// As [`Wakes::on_each`], for controllers that are not of the common shape yet.
    #[must_use]
    pub fn watches_itself<K: Typed>(self) -> Runner {
        let _ = self.wakes().on_each::<K>();
        self
    }

    /// What wakes it, to be filled in.
    pub fn wakes(&self) -> Wakes {
        Wakes::new(self.informers.clone(), self.queue.clone())
    }

    /// Lets a controller look at its keys until cancelled.
    pub async fn drive<C: Controller>(
        self,
        controller: Arc<C>,
        events: EventRecorder,
        cancel: CancellationToken,
    ) {
        let _ = controller.wakes(self.wakes());
        let turn = move |ctx: Ctx, key: Key| {
            let (controller, events) = (controller.clone(), events.clone());
            async move { turn(&*controller, &events, &ctx, &key).await }
        };
        self.workers(C::WORKERS).run(cancel, turn).await;
    }

    /// Reconciles until cancelled. `reconcile` observes the stores, plans, writes through its [`Ctx`], and says when to look again.
    pub async fn run<F, R>(self, cancel: CancellationToken, reconcile: R)
    where
        R: Fn(Ctx, Key) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Requeue, Error>> + Send + 'static,
    {
        let reconcile: Arc<dyn Fn(Ctx, Key) -> Pending + Send + Sync> =
            Arc::new(move |ctx, key| Box::pin(reconcile(ctx, key)));
        if !self.informers.synced_or_cancelled(&cancel).await {
            return;
        }
        let workers = self.workers;
        let runner = Arc::new(self);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (runner, reconcile) = (runner.clone(), reconcile.clone());
            tasks.spawn(async move { runner.work(&*reconcile).await });
        }
        tasks.spawn(retry_held(runner.clone(), cancel.clone()));
        cancel.cancelled().await;
        runner.queue.close();
        while tasks.join_next().await.is_some() {}
    }

    async fn work(&self, reconcile: &(dyn Fn(Ctx, Key) -> Pending + Send + Sync)) {
        while let Some((key, causes)) = self.queue.get().await {
            if let Err(error) = self.catch_up(&key).await {
                tracing::debug!(controller = self.name, %key, %error, "cannot see its own last write yet");
                self.queue.remember(&key, causes);
                self.finish(&key, Err(error), &[]);
                continue;
            }
            let ctx = self.ctx(&key, causes);
            let wrote = ctx.wrote.clone();
            let run = AssertUnwindSafe(reconcile(ctx, key.clone())).catch_unwind();
            // A fault in one key's plan must not stop the others.
            let result = run.await.unwrap_or_else(|_| Err(Error::Panicked));
            let Wrote { mark, revisions } = std::mem::take(&mut *wrote.lock());
            if let Some(mark) = mark {
                self.written.lock().insert(key.clone(), mark);
            } else if result.is_ok() {
                self.gate.withdraw(self.name, &key);
            }
            self.finish(&key, result, &revisions);
        }
    }

    fn finish(&self, key: &Key, result: Result<Requeue, Error>, wrote: &[Revision]) {
        match result {
            Ok(requeue) => {
                self.queue.forget(key);
                if let Requeue::After(wait) = requeue {
                    self.queue.add_after(key.clone(), wait);
                }
            }
            // The gate says when to try again.
            Err(Error::Held) => {}
            Err(error) => {
                // A conflict is the ordinary way to learn that somebody wrote first.
                if error.is("Conflict") {
                    tracing::debug!(controller = self.name, %key, %error, "trying again");
                } else {
                    tracing::warn!(controller = self.name, %key, %error, "trying again");
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
                let (_, revision) = in_time(ANSWER, self.client.list(&nothing)).await?;
                self.written.lock().insert(key.clone(), Mark::Written(revision));
                revision
            }
        };
        self.informers.wait_for(revision).await?;
        self.written.lock().remove(key);
        Ok(())
    }

    fn ctx(&self, key: &Key, causes: Vec<Revision>) -> Ctx {
        Ctx {
            controller: self.name,
            key: key.clone(),
            causes,
            client: self.client.clone(),
            informers: self.informers.clone(),
            clock: self.clock.clone(),
            gate: self.gate.clone(),
            wrote: Arc::default(),
        }
    }
}

/// One look of a controller at one key: observe, plan, and if the gate lets it through, carry out.
#[tracing::instrument(skip_all, fields(controller = C::NAME, %key))]
async fn turn<C: Controller>(
    controller: &C,
    events: &EventRecorder,
    ctx: &Ctx,
    key: &Key,
) -> Result<Requeue, Error> {
    let Some(observed) = controller.observe(ctx, key).await? else { return Ok(Requeue::Done) };
    let plan = C::plan(&observed, ctx.now());
    ctx.pass(&plan.actions)?;
    let refusals = carry_out(ctx, events, plan.actions).await?;
    let Some(first) = refusals.first() else {
        return Ok(plan.look_again.map_or(Requeue::Done, Requeue::After));
    };
    let status = first.status.clone();
    let more = C::refused(&observed, &refusals, ctx.now());
    carry_out(ctx, events, more).await?;
    Err(Error::Refused(status))
}

/// Looks at held keys again whenever the gate lets plans pass.
async fn retry_held(runner: Arc<Runner>, cancel: CancellationToken) {
    let mut opened = runner.gate.opened();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            changed = opened.changed() => if changed.is_err() { return },
        }
        for key in runner.gate.retry(runner.name) {
            runner.queue.add(key, None);
        }
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
