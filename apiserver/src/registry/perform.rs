//! A write that has begun is finished, whether or not its client is still there.
//!
//! Some writes are several commits, and all of them hold things meanwhile, such as the address of a Service. So each runs in a
//! task of its own: whoever asked may stop waiting for the answer at any moment, which ends the waiting and nothing else.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Status};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::operation::{Answer, Body, Context, Operation};
use super::{Registry, busy, stored};
use crate::large::{self, LARGE};

/// How many writes may be under way: as many as the store queues.
const MOST: usize = 4096;
/// How long a write waits for others to end before it is refused with 429. Nothing of it has begun then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a registry that closes waits for the writes that are under way.
const DRAIN: Duration = Duration::from_secs(10);

/// The writes that are under way.
pub(super) struct Writes {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Writes {
    pub(super) fn new() -> Writes {
        Writes { places: Arc::new(Semaphore::new(MOST)), tasks: TaskTracker::new() }
    }

    /// Waits for what is under way, within reason.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(writes = self.tasks.len(), "closing before all writes have ended");
        }
    }
}

impl Registry {
    /// Comes back when no write is under way.
    #[cfg(test)]
    pub(super) async fn idle(&self) {
        self.writes.tasks.close();
        self.writes.tasks.wait().await;
        self.writes.tasks.reopen();
    }

    /// Does one write and answers when it is on disk. Who drops the future does not get to know how the write ended; the write
    /// itself goes on to its end.
    pub async fn perform(self: &Arc<Self>, context: &Context, operation: Operation) -> Answer {
        let place = tokio::time::timeout(PATIENCE, self.writes.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Answer::refused(busy()) };
        let (registry, context, large) = (self.clone(), context.clone(), self.is_large(&operation));
        let write = self.writes.tasks.track_future(async move {
            let answer = registry.perform_here(&context, operation).await;
            drop(place);
            answer
        });
        if large {
            return self.large.run(write).await.unwrap_or_else(Answer::refused);
        }
        // A panic has been told of where it happened; the client gets to know that it was one.
        tokio::spawn(write).await.unwrap_or_else(|error| {
            Answer::refused(Status::internal(format!("the write did not come to its end: {error}")))
        })
    }

    /// Whether a write keeps a processor for long: its own body counts, and the object that it changes.
    fn is_large(&self, operation: &Operation) -> bool {
        let (key, body) = match operation {
            Operation::Create { body, .. } => (None, Some(body)),
            Operation::Update { key, body, .. } | Operation::Patch { key, body, .. } => {
                (Some(key), Some(body))
            }
            Operation::Delete { key, .. } => (Some(key), None),
        };
        let written = match body {
            Some(Body::Bytes(_, bytes)) => bytes.len(),
            Some(Body::Tree(tree)) => large::size_of(tree),
            None => 0,
        };
        let stored = key.and_then(|key| self.get(&Key { kind: stored(&key.kind), ..key.clone() }));
        written + stored.map_or(0, |object| object.json.len()) >= LARGE
    }
}
