//! Work on what is large, away from the threads that serve everybody.
//!
//! Decoding, validating and patching a body of 3 MiB, or printing a list of thousands of objects, keeps a processor for a
//! while, and nothing interrupts it. On the runtime's own threads a few such requests would stop all others. So they run on
//! threads of their own, few enough to leave processors to the rest; there they wait for the disk like any other task, without
//! keeping a thread.
//!
//! ```text
//!  request --small----------------------------> here
//!          --large--> the user's share --> others' slots --> all slots --> threads for large work
//!                         (each user's)     (all but nodes      (everybody's)
//!                                            and components)
//! ```
//!
//! Nobody can lock the others out: a user has so many slots at most, and waits for his own before he waits for those of all; what
//! nodes and components ask finds slots that nobody else may take. Who finds none in time is told so (429).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coracle_api::Status;
use coracle_api::status::Details;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::Identity;

/// From how many bytes on work is large: some milliseconds of it. Objects of people are a hundredth of this.
pub const LARGE: usize = 64 << 10;

/// Upstream's limit for a request's body. No stored object has more either.
pub const LARGEST: usize = 3 << 20;

/// How much large work may be under way. Each may hold some hundred bytes for every byte of its body.
const MOST: usize = 16;
/// How many of these slots people and workloads may take, members of `system:masters` among them. The rest is left for nodes
/// and components, because without their work the cluster stands still.
const OTHERS: usize = 12;
/// How much of it may be one user's.
pub const SHARE: usize = 6;
/// How long large work waits for a slot before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long large work may take, the sync of the disk included.
const TIME: Duration = Duration::from_secs(30);
/// The most threads.
const MOST_THREADS: usize = 4;

/// The threads for large work. There are none until there is some.
pub struct LargeWork {
    slots: Arc<Semaphore>,
    others: Arc<Semaphore>,
    shares: Arc<Shares>,
    runtime: OnceLock<Runtime>,
}

/// The slots that are each user's: only of those who have large work under way or wait for it.
#[derive(Default)]
struct Shares(Mutex<HashMap<String, Arc<Semaphore>>>);

/// One slot, until it is dropped.
pub struct Slot {
    _all: OwnedSemaphorePermit,
    _others: Option<OwnedSemaphorePermit>,
    _share: Share,
}

/// One of a user's slots, or the wish for one.
struct Share {
    shares: Arc<Shares>,
    user: String,
    of: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Shares {
    fn of(self: &Arc<Self>, user: &str) -> Share {
        let mut shares = self.0.lock();
        let of = shares.entry(user.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(SHARE))).clone();
        Share { shares: self.clone(), user: user.to_owned(), of, held: None }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held = None;
        let mut shares = self.shares.0.lock();
        // The table's and this one: nobody else has any of the user's slots, or waits for one.
        if Arc::strong_count(&self.of) == 2 {
            shares.remove(&self.user);
        }
    }
}

impl Default for LargeWork {
    fn default() -> LargeWork {
        LargeWork {
            slots: Arc::new(Semaphore::new(MOST)),
            others: Arc::new(Semaphore::new(OTHERS)),
            shares: Arc::default(),
            runtime: OnceLock::new(),
        }
    }
}

impl LargeWork {
    /// Does some large work of a user's, on the threads for it.
    ///
    /// # Errors
    /// 429 where too much is under way, 504 for what takes too long: it goes on, and nobody waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        user: &Identity,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let slot = self.slot(user).await?;
        let task = self.runtime()?.spawn(async move {
            let outcome = work.await;
            drop(slot);
            outcome
        });
        match tokio::time::timeout(TIME, task).await {
            Ok(Ok(outcome)) => Ok(outcome),
            // The log says where it panicked; the client gets to know that it was a panic.
            Ok(Err(error)) => Err(Status::internal(format!("the request did not come to its end: {error}"))),
            Err(_) => Err(too_long()),
        }
    }

    /// A slot for a user's large work, as soon as there is one.
    ///
    /// # Errors
    /// 429 where there is none for too long.
    pub async fn slot(&self, user: &Identity) -> Result<Slot, Status> {
        let find = async {
            let mut share = self.shares.of(&user.user);
            share.held = Some(share.of.clone().acquire_owned().await.ok()?);
            let is_clusters = user.is_component() || user.node().is_some();
            let others = match is_clusters {
                true => None,
                false => Some(self.others.clone().acquire_owned().await.ok()?),
            };
            let all = self.slots.clone().acquire_owned().await.ok()?;
            Some(Slot { _all: all, _others: others, _share: share })
        };
        tokio::time::timeout(PATIENCE, find).await.ok().flatten().ok_or_else(too_many)
    }

    fn runtime(&self) -> Result<&Runtime, Status> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads((processors / 2).clamp(1, MOST_THREADS))
            .thread_name("large-work")
            .enable_all()
            .build()
            .map_err(|error| Status::internal(format!("no thread for a large request: {error}")))?;
        // Of two that were made at the same moment one goes again.
        if let Err(second) = self.runtime.set(runtime) {
            second.shutdown_background();
        }
        self.runtime.get().ok_or_else(|| Status::internal("no thread for a large request"))
    }
}

/// A runtime must not be dropped where others wait for it to end.
impl Drop for LargeWork {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn too_many() -> Status {
    let text = "the server has too many large requests under way and has asked us to try again later";
    Status::failure(429, "TooManyRequests", text)
        .with_details(Details { retry_after_seconds: 1, ..Details::default() })
}

fn too_long() -> Status {
    let seconds = TIME.as_secs();
    let why = format!("the large request was not done after {seconds} s; it may still be carried out");
    Status::failure(504, "Timeout", format!("Timeout: {why}")).with_details(Details::default())
}

/// About how many bytes a tree has as JSON; counting ends at [`LARGE`].
pub fn size_of(value: &Value) -> usize {
    let (mut size, mut left) = (0, vec![value]);
    while let Some(value) = left.pop().filter(|_| size < LARGE) {
        size += 4;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => size += text.len(),
            Value::Array(items) => left.extend(items),
            Value::Object(map) => {
                size += map.keys().map(|key| key.len() + 3).sum::<usize>();
                left.extend(map.values());
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::NODES;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn large_work_leaves_the_others_their_thread() {
        let large = Arc::new(LargeWork::default());
        let (busy, free) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        let (started, wait) = (busy.0, free.1);
        let work = {
            let large = large.clone();
            tokio::spawn(async move {
                // Keeps its thread, as decoding does, until it is told to end.
                large
                    .run(&Identity::new("a", &[]), async move {
                        started.send(()).unwrap();
                        wait.recv_timeout(Duration::from_secs(20)).unwrap();
                        std::thread::current().name().map(str::to_owned)
                    })
                    .await
            })
        };
        while busy.1.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        // The only thread of this runtime is free: this very line runs on it.
        free.0.send(()).unwrap();
        assert_eq!(work.await.unwrap().unwrap().as_deref(), Some("large-work"));
    }

    #[tokio::test]
    async fn nobody_locks_the_others_out_and_a_panic_gives_its_slot_back() {
        let large = LargeWork::default();
        let panicked: Result<(), Status> =
            large.run(&Identity::new("a", &[]), async { panic!("on purpose") }).await;
        assert_eq!(panicked.unwrap_err().code, 500);
        assert_eq!(large.slots.available_permits(), MOST);
        tokio::time::pause();
        let node = Identity::new("system:node:n", &[NODES]);
        let (component, refused) = (Identity::new("system:kube-scheduler", &[]), (429, "TooManyRequests"));
        let mut held = Vec::new();
        // As many users as fill what others have, each with as much as there is for one.
        for user in (0..OTHERS / SHARE).map(|n| Identity::new(&format!("user-{n}"), &[])) {
            let another = Identity::new("another", &[]);
            held.push(large.slot(&another).await.unwrap());
            assert!(held.pop().is_some(), "whoever comes finds a slot while one user has all of his");
            for _ in 0..SHARE {
                held.push(large.slot(&user).await.unwrap());
            }
            let status = large.slot(&user).await.err().unwrap();
            assert_eq!((status.code, status.reason.as_str()), refused, "one user has a share, not all");
        }
        assert!(large.slot(&Identity::new("late", &[])).await.is_err(), "the others have their slots only");
        for user in [&node, &component, &node, &component] {
            held.push(large.slot(user).await.unwrap());
        }
        assert!(large.slot(&node).await.is_err() && held.len() == MOST);
        drop(held);
        assert!(large.shares.0.lock().is_empty(), "nothing is kept of those who have nothing under way");
        tokio::time::resume();
        assert_eq!(large.run(&node, async { 5 }).await, Ok(5));
    }

    #[test]
    fn trees_are_measured_until_they_are_large() {
        let tree = json!({"a": ["text", 5, null], "b": {"c": true}});
        assert!(size_of(&tree).abs_diff(tree.to_string().len()) < 25);
        assert!(size_of(&json!(vec!["x".repeat(100); 100_000])) < 2 * LARGE);
    }
}
