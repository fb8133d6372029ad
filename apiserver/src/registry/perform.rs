//! A write that has begun is finished, whether or not its client is still there.
//!
//! Some writes are several commits, and all of them hold things meanwhile, such as the address of a Service. So each runs in a
//! task of its own: whoever asked may stop waiting for the answer at any moment, which ends the waiting and nothing else.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::Status;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::operation::{Answer, Context, Operation};
use super::{Registry, busy};

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
        let (registry, context) = (self.clone(), context.clone());
        let write = self.writes.tasks.spawn(async move {
            let answer = registry.perform_here(&context, operation).await;
            drop(place);
            answer
        });
        // A panic has been told of where it happened; the client gets to know that it was one.
        write.await.unwrap_or_else(|error| {
            Answer::refused(Status::internal(format!("the write did not come to its end: {error}")))
        })
    }
}
