//! What runs a controller: changes become keys, keys are reconciled by a few workers, and no key is looked at in a state
//! older than what its own last run wrote.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Object, Revision};
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::deadline::{ANSWER, in_time};
use crate::typed::Typed;
use crate::write::Outcomes;
use crate::{Change, Client, Clock, Error, Gate, Informers, Interest, Op, Queue, Write};

/// When to look at a key again that has been reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When something changes.
    Done,
    /// When something changes, or after this time.
    After(Duration),
}

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

/// What one run has written.
#[derive(Default)]
struct Wrote {
    mark: Option<Mark>,
    revisions: Vec<Revision>,
}

/// What a key has to wait for before it is looked at again.
#[derive(Clone, Copy)]
enum Mark {
    /// The informers hold this revision.
    Written(Revision),
    /// A write broke off: it may have happened, at a revision that nobody told.
    Unknown,
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

    /// The queue, for a controller that adds keys by other means than changes.
    pub fn queue(&self) -> Arc<Queue<Key>> {
        self.queue.clone()
    }

    /// Looks at the keys that `keys` names whenever an object of type `K` changes; the change's revision is among the causes.
    /// An event says where to look, never what to do.
    #[must_use]
    pub fn watches<K: Typed>(
        self,
        keys: impl Fn(&Change<'_, K>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Runner {
        let queue = self.queue.clone();
        self.informers.store::<K>().on_change(move |change| {
            for key in keys(change) {
                queue.add(key, Some(change.revision));
            }
        });
        self
    }

    /// Looks at every object of type `K` that changes.
    #[must_use]
    pub fn watches_itself<K: Typed>(self) -> Runner {
        self.watches::<K>(|change| vec![change.object().key()])
    }

    /// Looks at the owner of type `O` whenever an object of type `K` that it controls changes, or leaves its control.
    #[must_use]
    pub fn watches_owned<K: Typed, O: Typed>(self) -> Runner {
        self.watches::<K>(|change| {
            let states = [change.old, change.new];
            let mut keys: Vec<Key> =
                states.into_iter().flatten().filter_map(|o| controller_of::<K, O>(o)).collect();
            keys.dedup();
            keys
        })
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
                causes.into_iter().for_each(|cause| self.queue.add(key.clone(), Some(cause)));
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

/// The key of the controller of `object`, if it is of type `O`.
pub fn controller_of<K: Typed, O: Typed>(object: &K) -> Option<Key> {
    let owners = object.metadata().owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    if owner.kind != O::KIND || owner.api_version != O::API_VERSION {
        return None;
    }
    let namespace = if O::kind().namespaced { object.metadata().namespace.clone()? } else { String::new() };
    Some(Key::new(O::kind(), namespace, owner.name.clone()))
}

/// What one run of one key may use.
pub struct Ctx {
    controller: &'static str,
    key: Key,
    causes: Vec<Revision>,
    client: Arc<dyn Client>,
    informers: Informers,
    clock: Clock,
    gate: Gate,
    wrote: Arc<Mutex<Wrote>>,
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

    /// Writes a batch on this key's behalf: through the gate, with the causes, and noting the revisions, so that the next
    /// run sees them. An outcome for each item, in order.
    ///
    /// # Errors
    /// [`Error::Held`] by a closed gate; else as [`Client::write`]. What happened to an item is in its outcome.
    pub async fn write(&self, ops: Vec<Op>) -> Result<Outcomes, Error> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        self.gate.pass(self.controller, &self.key, &ops)?;
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

    /// Writes one thing on this key's behalf; what the server refuses is an error.
    ///
    /// # Errors
    /// As [`Ctx::write`], and [`Error::Refused`].
    pub async fn write_one(&self, op: Op) -> Result<Arc<Object>, Error> {
        let outcome = self.write(vec![op]).await?.pop();
        let outcome = outcome.ok_or_else(|| Error::Malformed("no outcome for the write".into()))?;
        Ok(outcome?)
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

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
