//! The store on one machine's disk, with group commit: one thread owns writing, and every writer that came while it was
//! syncing shares the next sync.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread::JoinHandle;

use async_trait::async_trait;
use coracle_api::{Key, Object, Revision};
use coracle_client::clock::Clock;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::base::{Base, Folder};
use super::log::{Log, Sealed};
use super::{Bounds, Change, Committed, Store, StoreError, Subscriber, Verb};

/// How many writers may wait. At ten thousand writes a second this is well under a second of work.
const QUEUE: usize = 4096;
/// How long a writer waits for a place in the queue.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// The most changes in one commit, and the most bytes but for the last: keeps one sync, and so everybody's wait, short.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;
/// Into how many files the log is divided, which go one by one. Each costs three slow syncs.
const FILES: u64 = 16;

/// See the module.
pub struct Embedded {
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failed: Arc<RwLock<Option<String>>>,
}

/// What the thread that owns writing is asked for.
enum Order {
    Commit(Change, oneshot::Sender<Result<Arc<Object>, StoreError>>),
    /// Let go of what is too old.
    Age,
}

/// An opened and read directory, not yet writing.
pub struct Opened {
    base: Base,
    log: Log,
    sealed: Vec<Sealed>,
    bounds: Bounds,
    clock: Clock,
}

impl Embedded {
    /// Opens or makes the store in `path` and tells a reader, in order: every object of the base, the revision that the base shows
    /// (`Err`), every change since.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Foreign`] or [`StoreError::Damaged`]; never an empty cluster in their place.
    pub fn open(
        path: &Path,
        bounds: Bounds,
        clock: Clock,
        reader: &mut dyn FnMut(Result<Committed, Revision>),
    ) -> Result<Opened, StoreError> {
        let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
        let base = Base::open(path)?;
        base.read(&mut |change| reader(Ok(change))).map_err(damaged)?;
        reader(Err(base.floor));
        let limit = bounds.disk_bytes / FILES;
        let (log, sealed) = Log::open(&base.log_dir(), base.floor, limit, &mut |change| reader(Ok(change)))
            .map_err(damaged)?;
        base.mark().map_err(|error| damaged(error.to_string()))?;
        Ok(Opened { base, log, sealed, bounds, clock })
    }
}

impl Opened {
    /// Starts writing.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(self, subscriber: Box<dyn Subscriber>) -> std::io::Result<Embedded> {
        let Opened { base, log, sealed, bounds, clock } = self;
        let (queue, orders) = mpsc::channel(QUEUE);
        // One message a file of the log: not worth a bound.
        let (full, folding) = threads::channel();
        let failed = Arc::new(RwLock::new(None));
        let folder = Folder { base, bounds, clock: clock.clone(), sealed: sealed.into() };
        let writer = Writer { log, bounds, clock, subscriber, failed: failed.clone(), full };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let threads = vec![
            thread("store").spawn(move || writer.run(orders))?,
            thread("store-fold").spawn(move || folder.run(&folding))?,
        ];
        Ok(Embedded { queue: Mutex::new(Some(queue)), threads: Mutex::new(threads), failed })
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, change: Change) -> Result<Arc<Object>, StoreError> {
        let closed = || StoreError::Disk("the store is closed".into());
        let sender = self.queue.lock().clone().ok_or_else(closed)?;
        let (answer, outcome) = oneshot::channel();
        match sender.try_send(Order::Commit(change, answer)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            // A burst waits for its turn; only a disk that has stopped turns writers away.
            Err(mpsc::error::TrySendError::Full(order)) => {
                match tokio::time::timeout(PATIENCE, sender.send(order)).await {
                    Ok(sent) => sent.map_err(|_| closed())?,
                    Err(_) => return Err(StoreError::Busy),
                }
            }
        }
        drop(sender);
        outcome.await.map_err(|_| closed())?
    }

    fn age(&self) {
        if let Some(queue) = &*self.queue.lock() {
            // A full queue has other worries, and there will be another time.
            let _ = queue.try_send(Order::Age);
        }
    }

    fn health(&self) -> Result<(), String> {
        self.failed.read().clone().map_or(Ok(()), Err)
    }

    async fn close(&self) {
        self.queue.lock().take();
        let threads = std::mem::take(&mut *self.threads.lock());
        // They end once the queue is empty; a panic in one has already failed its writers.
        let join = move || threads.into_iter().map(JoinHandle::join).for_each(drop);
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

/// The state of the thread that owns writing.
struct Writer {
    log: Log,
    bounds: Bounds,
    clock: Clock,
    subscriber: Box<dyn Subscriber>,
    failed: Arc<RwLock<Option<String>>>,
    full: threads::Sender<Option<Sealed>>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(BATCH);
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.size();
            orders.push(first);
            while orders.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.size();
                orders.push(next);
            }
            self.obey(orders.drain(..));
        }
    }

    /// One batch: check, number, write, sync, publish, answer.
    fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        let mut fresh: HashMap<Key, Option<Revision>> = HashMap::new();
        let (mut committed, mut waiting) = (Vec::new(), Vec::new());
        let mut last = self.log.last();
        for order in orders {
            let Order::Commit(change, answer) = order else {
                self.age();
                continue;
            };
            // A writer that gave up waiting has no use for its answer.
            if let Some(why) = self.failed.read().clone() {
                let _ = answer.send(Err(StoreError::Disk(why)));
                continue;
            }
            let found = fresh.get(&change.key).copied();
            let found = found.unwrap_or_else(|| self.subscriber.revision_of(&change.key));
            if found != change.expected {
                let conflict = StoreError::Conflict { key: change.key, expected: change.expected, found };
                let _ = answer.send(Err(conflict));
                continue;
            }
            last.0 += 1;
            let change = change.numbered(last);
            fresh.insert(change.object.key.clone(), (change.verb != Verb::Delete).then_some(last));
            waiting.push((answer, change.object.clone()));
            committed.push(change);
        }
        if committed.is_empty() {
            return;
        }
        match self.log.append(&committed) {
            Ok(sealed) => self.seal(sealed),
            Err(error) => {
                // What was handed to the system may still reach the disk, so nothing can be promised any more.
                tracing::error!(%error, "the store takes no more writes");
                *self.failed.write() = Some(error.to_string());
                for (answer, _) in waiting {
                    let _ = answer.send(Err(StoreError::Disk(error.to_string())));
                }
                return;
            }
        }
        self.subscriber.publish(committed);
        for (answer, object) in waiting {
            let _ = answer.send(Ok(object));
        }
    }

    /// On a cluster where nothing happens, the file that is open grows old, too.
    fn age(&mut self) {
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        if self.log.newest().is_some_and(|newest| newest.as_second() < oldest_kept) {
            match self.log.seal() {
                Ok(sealed) => self.seal(sealed),
                Err(error) => tracing::warn!(%error, "cannot begin another file of the log"),
            }
        }
        let _ = self.full.send(None);
    }

    /// Hands a full file on. Whoever folds lives as long as the writer.
    fn seal(&self, sealed: Option<Sealed>) {
        if sealed.is_some() {
            let _ = self.full.send(sealed);
        }
    }
}

impl Order {
    fn size(&self) -> usize {
        match self {
            Order::Commit(change, _) => change.body.head.len() + change.body.tail.len(),
            Order::Age => 0,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
