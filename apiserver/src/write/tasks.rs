//! The writes that are under way.
//!
//! Some writes consist of several steps, and whoever drops a future stops it where it waits. So each runs in a task of its own:
//! who asked may stop waiting for the answer at any moment, which ends the waiting and nothing else.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::Status;
use coracle_api::status::Details;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::identity::Identity;
use crate::large::LargeWork;

/// How many writes may be under way: as many as the store queues.
const MOST: usize = 4096;
/// How long a write waits for others to end before it is refused with 429. Nothing of it has begun then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a registry that closes waits for the writes that are under way.
const DRAIN: Duration = Duration::from_secs(10);

/// See the module.
pub struct Tasks {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { places: Arc::new(Semaphore::new(MOST)), tasks: TaskTracker::new() }
    }
}

impl Tasks {
    /// Runs a write to its end, whether or not its caller waits for that; on the threads for large work, if it is given them and the
    /// user whose work it is.
    ///
    /// # Errors
    /// 429 if too much is under way; 500 if the write panicked, of which has been told where it happened.
    pub async fn run<T: Send + 'static>(
        &self,
        large: Option<(&LargeWork, &Identity)>,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let place = tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(busy()) };
        let task = self.tasks.track_future(async move {
            let outcome = write.await;
            drop(place);
            outcome
        });
        match large {
            Some((large, user)) => large.run(user, task).await,
            None => tokio::spawn(task)
                .await
                .map_err(|error| Status::internal(format!("the write did not come to its end: {error}"))),
        }
    }

    /// Waits for what is under way, within reason.
    pub async fn finish(&self) {
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(writes = self.tasks.len(), "closing before all writes have ended");
        }
    }

    /// Comes back when no write is under way.
    #[cfg(test)]
    pub(super) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// 429: the queue to the disk is full.
pub fn busy() -> Status {
    let why = "the server has received too many requests and has asked us to try again later";
    let details = Details { retry_after_seconds: 1, ..Details::default() };
    Status::failure(429, "TooManyRequests", why).with_details(details)
}
