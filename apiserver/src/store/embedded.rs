//! The store on one machine's disk, with group commit: one thread owns writing, and every writer that came while it was
//! syncing shares the next sync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread::JoinHandle;

use async_trait::async_trait;
use coracle_client::clock::Clock;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::base::{Base, Folder};
use super::ledger::Ledger;
use super::log::{Log, Sealed};
use super::{Batch, Bounds, Follower, Loaded, Outcome, Store, StoreError};

/// How many batches may wait. At ten thousand writes a second this is well under a second of work.
const QUEUE: usize = 4096;
/// How long a writer waits for a place in the queue.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// The most batches in one commit, and the most bytes but for the last: keeps one sync, and so everybody's wait, short.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 4 << 20;
/// Into how many files the log is divided, which go one by one. Each costs three slow syncs.
const FILES: u64 = 16;

/// See the module.
pub struct Embedded {
    path: PathBuf,
    bounds: Bounds,
    clock: Clock,
    /// Where batches wait; nothing before the store is loaded and after it is closed.
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failed: Arc<RwLock<Option<String>>>,
}

/// What the thread that owns writing is asked for.
enum Order {
    Commit(Batch, Answer),
    /// Let go of what is too old.
    Age,
}

type Answer = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

/// An opened and read directory, not yet writing.
struct Opened {
    base: Base,
    log: Log,
    sealed: Vec<Sealed>,
    ledger: Ledger,
    loaded: Loaded,
}

impl Embedded {
    /// A store in a directory, which is opened, or made, when it is loaded.
    pub fn new(path: impl Into<PathBuf>, bounds: Bounds, clock: Clock) -> Embedded {
        let (queue, threads, failed) = (Mutex::default(), Mutex::default(), Arc::default());
        Embedded { path: path.into(), bounds, clock, queue, threads, failed }
    }

    /// Starts writing.
    fn start(&self, opened: Opened, follower: Arc<dyn Follower>) -> std::io::Result<()> {
        let Opened { base, log, sealed, ledger, loaded } = opened;
        let (bounds, clock) = (self.bounds, self.clock.clone());
        follower.load(loaded);
        let (queue, orders) = mpsc::channel(QUEUE);
        // One message a file of the log: not worth a bound.
        let (full, folding) = threads::channel();
        let folder = Folder { base, bounds, clock: clock.clone(), sealed: sealed.into() };
        let writer = Writer { log, ledger, bounds, clock, follower, failed: self.failed.clone(), full };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        *self.threads.lock() = vec![
            thread("store").spawn(move || writer.run(orders))?,
            thread("store-fold").spawn(move || folder.run(&folding))?,
        ];
        *self.queue.lock() = Some(queue);
        Ok(())
    }
}

/// Opens or makes the store in a directory and reads it.
fn open(path: &std::path::Path, bounds: Bounds) -> Result<Opened, StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
    let base = Base::open(path)?;
    let mut ledger = Ledger::empty(base.floor);
    let mut loaded = Loaded { floor: base.floor, ..Loaded::default() };
    base.read(&mut |change| {
        ledger.apply(&change);
        loaded.base.push(change);
    })
    .map_err(damaged)?;
    let limit = bounds.disk_bytes / FILES;
    let (log, sealed) = Log::open(&base.log_dir(), base.floor, limit, &mut |change| {
        ledger.apply(&change);
        loaded.log.push(change);
    })
    .map_err(damaged)?;
    base.mark().map_err(|error| damaged(error.to_string()))?;
    Ok(Opened { base, log, sealed, ledger, loaded })
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        let (path, bounds) = (self.path.clone(), self.bounds);
        let opened = tokio::task::spawn_blocking(move || open(&path, bounds)).await;
        let opened = opened.map_err(|panic| StoreError::Disk(panic.to_string()))??;
        self.start(opened, follower).map_err(|error| StoreError::Disk(error.to_string()))
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        let sender = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        match sender.try_send(Order::Commit(batch, answer)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed),
            // A burst waits for its turn; only a disk that has stopped turns writers away.
            Err(mpsc::error::TrySendError::Full(order)) => {
                match tokio::time::timeout(PATIENCE, sender.send(order)).await {
                    Ok(sent) => sent.map_err(|_| StoreError::Closed)?,
                    Err(_) => return Err(StoreError::Busy),
                }
            }
        }
        drop(sender);
        outcome.await.map_err(|_| StoreError::Closed)?
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
    ledger: Ledger,
    bounds: Bounds,
    clock: Clock,
    follower: Arc<dyn Follower>,
    failed: Arc<RwLock<Option<String>>>,
    full: threads::Sender<Option<Sealed>>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(GROUP);
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.size();
            orders.push(first);
            while orders.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.size();
                orders.push(next);
            }
            self.obey(orders.drain(..));
        }
    }

    /// One group: check, number, write, sync, publish, answer.
    fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        let mut waiting = Vec::new();
        let mut draft = self.ledger.draft();
        let (mut age, failed) = (false, self.failed.read().clone());
        for order in orders {
            let Order::Commit(batch, answer) = order else {
                age = true;
                continue;
            };
            // A writer that gave up waiting has no use for its answer.
            if let Some(why) = &failed {
                let _ = answer.send(Err(StoreError::Disk(why.clone())));
                continue;
            }
            match draft.add(batch) {
                Ok(outcomes) => waiting.push((answer, outcomes)),
                Err(conflict) => drop(answer.send(Err(conflict.into()))),
            }
        }
        let changes = draft.changes;
        if age {
            self.age();
        }
        match self.log.append(&changes) {
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
        for change in &changes {
            self.ledger.apply(change);
        }
        if !changes.is_empty() {
            self.follower.publish(changes);
        }
        for (answer, outcomes) in waiting {
            let _ = answer.send(Ok(outcomes));
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
            Order::Commit(batch, _) => batch.bytes(),
            Order::Age => 0,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
