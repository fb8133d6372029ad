//! The store on one machine's disk, with group commit: one thread owns writing, and every writer that came while it was
//! syncing shares the next sync.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread::JoinHandle;

use async_trait::async_trait;
use coracle_client::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, Machine};
use super::fold::FoldWorker;
use super::health::Health;
use super::opening::{self, Opened};
use super::writer::{Order, Writer};
use super::{Batch, Bounds, Follower, Outcome, Store, StoreError};

/// How many batches may wait. At ten thousand writes a second this is well under a second of work.
const QUEUE: usize = 4096;
/// How long a writer waits for room in the queue.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The store on this machine's disk, for one server.
pub struct Embedded {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bounds: Bounds,
    clock: Clock,
    /// Where batches wait; nothing before the store is loaded and after it is closed.
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out for as long as any part of the store lives.
    lock: Mutex<Option<Box<dyn Any + Send>>>,
    health: Arc<Health>,
}

impl Embedded {
    /// A store in a directory, which is opened, or made, when it is loaded.
    pub fn new(path: impl Into<PathBuf>, bounds: Bounds, clock: Clock) -> Embedded {
        Embedded::on(Arc::new(Machine::default()), path, bounds, clock)
    }

    /// A store on a disk.
    pub(crate) fn on(
        disk: Arc<dyn Disk>,
        path: impl Into<PathBuf>,
        bounds: Bounds,
        clock: Clock,
    ) -> Embedded {
        Embedded {
            disk,
            path: path.into(),
            bounds,
            clock,
            queue: Mutex::default(),
            threads: Mutex::default(),
            lock: Mutex::default(),
            health: Arc::default(),
        }
    }

    /// Starts writing.
    fn start(&self, opened: Opened, follower: Arc<dyn Follower>) -> std::io::Result<()> {
        let Opened { base, log, sealed, ledger, loaded, lock } = opened;
        let (bounds, clock, health) = (self.bounds, self.clock.clone(), self.health.clone());
        follower.load(loaded);
        let (queue, orders) = mpsc::channel(QUEUE);
        // One message a file of the log: not worth a bound.
        let (full, folding) = threads::channel();
        let fold_worker = FoldWorker {
            disk: self.disk.clone(),
            path: self.path.clone(),
            base: Some(base),
            bounds,
            clock: clock.clone(),
            sealed: sealed.into(),
            health: health.clone(),
        };
        let path = self.path.clone();
        let writer = Writer { log, ledger, bounds, clock, path, follower, health: health.clone(), full };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let watch = health.clone();
        let folds = move || watch.watch_over("fold", || fold_worker.run(&folding));
        let writes = move || health.watch_over("writer", || writer.run(orders));
        *self.threads.lock() = vec![thread("store-fold").spawn(folds)?, thread("store").spawn(writes)?];
        *self.lock.lock() = Some(lock);
        *self.queue.lock() = Some(queue);
        Ok(())
    }
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        let (disk, path, bounds) = (self.disk.clone(), self.path.clone(), self.bounds);
        let opened = tokio::task::spawn_blocking(move || opening::open(&disk, &path, &bounds)).await;
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
            // Skipped where the queue is full: it is asked for again later.
            let _ = queue.try_send(Order::Age);
        }
    }

    fn health(&self) -> Result<(), String> {
        let health = self.health.check();
        if health.is_err()
            && let Some(queue) = &*self.queue.lock()
        {
            // Whoever asks again will hear if the disk has come back, even if nobody writes.
            let _ = queue.try_send(Order::Probe);
        }
        health
    }

    async fn broken(&self) -> String {
        self.health.broken().await
    }

    async fn close(&self) {
        self.queue.lock().take();
        let threads = std::mem::take(&mut *self.threads.lock());
        // They end once the queue is empty; a panic in one has already been told.
        let join = move || threads.into_iter().map(JoinHandle::join).for_each(drop);
        let _ = tokio::task::spawn_blocking(join).await;
        self.lock.lock().take();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
