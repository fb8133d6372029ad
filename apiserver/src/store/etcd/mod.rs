//! The store that several servers share: in etcd, as a base and a log, as the embedded one has them on disk.
//!
//! ```text
//!  commit --queue--> writer: check, number, one step in etcd --publish--> registry --answer--> commit
//!                      ^ follow (the watch): what others wrote        fold: log --> base
//! ```
//!
//! Every step compares and sets one key, the counter. So all changes of all servers stand in one row, and each server checks
//! conditions against its own memory: if the counter is what memory knows, memory is what etcd holds.

mod access;
mod fold;
mod follow;
mod layout;
mod snapshot;
mod writer;

#[cfg(test)]
pub mod process;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::Revision;
use coracle_client::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::health::Health;
use super::{Batch, Bounds, Follower, Outcome, Store, StoreError};
use access::Access;
pub use access::Endpoints;
use layout::Layout;
use writer::{Order, Writer};

/// Where the store stands in etcd unless told otherwise. Not `/registry`, where a Kubernetes beside us would look.
pub const PREFIX: &str = "/coracle";

/// How many batches may wait.
const QUEUE: usize = 4096;
/// How many messages of the watch may wait. While they do, etcd waits.
const HEARD: usize = 64;
/// How long a writer waits for room in the queue, and how long a batch may wait for its turn and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// How long a store that closes waits for what is under way.
const DRAIN: Duration = Duration::from_secs(12);

/// The store in etcd, which several servers share.
pub struct Etcd {
    access: Arc<Access>,
    layout: Layout,
    bounds: Bounds,
    clock: Clock,
    /// Where batches wait; nothing before the store is loaded and after it is closed.
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    health: Arc<Health>,
}

impl Etcd {
    /// A store below a prefix of etcd's keys, which is read, or made, when it is loaded.
    ///
    /// # Errors
    /// [`StoreError::Open`] for addresses or certificates that cannot be used.
    pub fn new(
        endpoints: &Endpoints,
        prefix: &str,
        bounds: Bounds,
        clock: Clock,
    ) -> Result<Etcd, StoreError> {
        Ok(Etcd {
            access: Arc::new(Access::new(endpoints)?),
            layout: Layout::new(prefix),
            bounds,
            clock,
            queue: Mutex::default(),
            tasks: Mutex::default(),
            health: Arc::default(),
        })
    }

    /// Runs a part of the store; its panic breaks all of it.
    fn spawn(&self, part: &'static str, run: impl Future<Output = ()> + Send + 'static) {
        let health = self.health.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = tokio::spawn(run).await
                && let Ok(panic) = error.try_into_panic()
            {
                health.set_broken(part, &*panic);
            }
        });
        self.tasks.lock().push(task);
    }

    async fn ask<T>(
        &self,
        order: Order,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let sender = self.queue.lock().clone().ok_or(StoreError::Closed)?;
        match tokio::time::timeout(PATIENCE, sender.send(order)).await {
            Ok(sent) => sent.map_err(|_| StoreError::Closed)?,
            Err(_) => return Err(StoreError::Busy),
        }
        drop(sender);
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(answer) => answer.map_err(|_| StoreError::Closed)?,
            Err(_) => Err(StoreError::Unknown { why: format!("no answer within {} s", ANSWER.as_secs()) }),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        let read = snapshot::read(&self.access, &self.layout).await?;
        follower.load(read.loaded);
        let (queue, orders) = mpsc::channel(QUEUE);
        let (sink, heard) = mpsc::channel(HEARD);
        let (goal, goals) = watch::channel(Revision(0));
        let (access, layout) = (self.access.clone(), self.layout.clone());
        let writer = Writer {
            access: access.clone(),
            layout: layout.clone(),
            ledger: read.ledger,
            counter: read.counter,
            frames: read.frames,
            bounds: self.bounds,
            clock: self.clock.clone(),
            follower,
            health: self.health.clone(),
            goal,
            silent: None,
        };
        self.spawn("writer", writer.run(orders, heard));
        self.spawn("watch", follow::run(access.clone(), layout.clone(), read.revision + 1, sink));
        self.spawn("fold", fold::run(access, layout, goals, self.health.clone()));
        *self.queue.lock() = Some(queue);
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        let (send, answer) = oneshot::channel();
        self.ask(Order::Commit(batch, send), answer).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let (send, answer) = oneshot::channel();
        self.ask(Order::CatchUp(send), answer).await
    }

    fn age(&self) {
        if let Some(queue) = &*self.queue.lock() {
            // A full queue has other worries, and there will be another time.
            let _ = queue.try_send(Order::Age);
        }
    }

    fn health(&self) -> Result<(), String> {
        self.health.check()
    }

    async fn broken(&self) -> String {
        self.health.broken().await
    }

    async fn close(&self) {
        self.queue.lock().take();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let all = futures::future::join_all(tasks);
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!("etcd did not answer before the store was closed");
        }
    }
}
