//! The writes that are under way.
//!
//! Some writes consist of several steps, and whoever drops a future stops it where it waits. So each write is [`Unstoppable`]: who
//! asked may stop waiting for the answer at any moment, which ends the waiting and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use coracle_api::Status;
use coracle_api::status::Details;
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::identity::Identity;
use crate::large::LargeWork;

/// How many writes may be under way: as many as the store queues.
const MOST: usize = 4096;
/// How long a write waits for others to end before it is refused with 429. Nothing of it has begun then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a registry that closes waits for the writes that are under way.
const DRAIN: Duration = Duration::from_secs(10);

/// All writes that are under way: how many there may be, and how to wait for them.
pub struct WritesUnderWay {
    slots: Arc<Semaphore>,
    running: TaskTracker,
}

impl Default for WritesUnderWay {
    fn default() -> WritesUnderWay {
        WritesUnderWay { slots: Arc::new(Semaphore::new(MOST)), running: TaskTracker::new() }
    }
}

impl WritesUnderWay {
    /// Runs a write to its end, whether or not its caller waits for that; on the threads for large work, if it is given them and the
    /// user whose work it is.
    ///
    /// # Errors
    /// 429 if too much is under way; 500 if the write panicked, the log says where; 504 if large work takes too long.
    pub async fn run<T: Send + 'static>(
        &self,
        large: Option<(&LargeWork, &Identity)>,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let slot = self.slot().await?;
        let write = self.running.track_future(async move {
            let outcome = write.await;
            drop(slot);
            outcome
        });
        match large {
            Some((large, user)) => large.run(user, write).await,
            None => Unstoppable::new(AssertUnwindSafe(write).catch_unwind())
                .await
                .map_err(|panic| panicked(&*panic)),
        }
    }

    /// A slot for a write, as soon as there is one.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let slot = tokio::time::timeout(PATIENCE, self.slots.clone().acquire_owned()).await;
        slot.ok().and_then(Result::ok).ok_or_else(busy)
    }

    /// Waits for what is under way, within reason.
    pub async fn finish(&self) {
        self.running.close();
        if tokio::time::timeout(DRAIN, self.running.wait()).await.is_err() {
            tracing::warn!(writes = self.running.len(), "closing before all writes have ended");
        }
    }

    /// Comes back when no write is under way.
    #[cfg(test)]
    pub(super) async fn idle(&self) {
        self.running.close();
        self.running.wait().await;
        self.running.reopen();
    }
}

/// A future that comes to its end whoever drops it: what is not finished then goes on as a task of its own. Where nobody drops
/// it, it runs in its caller's task, which costs none.
///
/// It begins when it is first polled. One that is dropped before that goes on, too, so whoever dropped it need not know whether it
/// had begun.
pub struct Unstoppable<T: Send + 'static> {
    /// Nothing once it has come to its end.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> Unstoppable<T> {
    /// Some work that must come to its end.
    pub fn new(work: impl Future<Output = T> + Send + 'static) -> Unstoppable<T> {
        Unstoppable { work: Some(Box::pin(work)) }
    }
}

impl<T: Send + 'static> Future for Unstoppable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Nobody polls a future again that has given its outcome; whoever does waits for ever.
        let Some(work) = &mut self.work else { return Poll::Pending };
        let outcome = std::task::ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Unstoppable<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and nothing can go on.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

/// 500: the write has come upon a fault of the server's own.
fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked");
    Status::internal(format!("the write did not come to its end: {text}"))
}

/// 429: too many writes are under way, or wait for the disk.
pub fn busy() -> Status {
    let why = "the server has received too many requests and has asked us to try again later";
    let details = Details { retry_after_seconds: 1, ..Details::default() };
    Status::failure(429, "TooManyRequests", why).with_details(details)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_comes_to_its_end_wherever_it_is_dropped() {
        const STEPS: usize = 5;
        for polls in 0..=STEPS + 1 {
            let writes = WritesUnderWay::default();
            let done = Arc::new(AtomicUsize::new(0));
            let steps = done.clone();
            let work = Unstoppable::new(writes.running.track_future(async move {
                for _ in 0..STEPS {
                    steps.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }));
            let mut work = Box::pin(work);
            for _ in 0..polls {
                let _ = futures::poll!(work.as_mut());
            }
            drop(work);
            writes.idle().await;
            assert_eq!(done.load(Ordering::Relaxed), STEPS, "dropped after {polls} polls");
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_gives_its_slot_back() {
        let writes = WritesUnderWay::default();
        let status = writes.run(None, async { panic!("on purpose") }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(status.code, 500);
        assert!(
            status.message.ends_with("the write did not come to its end: on purpose"),
            "{}",
            status.message
        );
        assert_eq!(writes.slots.available_permits(), MOST);
        writes.idle().await;
    }
}
