//! What a node knows of images: which pulls are under way, and which failed a short while ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::runtime::{Error, Runtime};
use crate::times::later;

/// Waits after a failed pull, in seconds: the first, and the longest.
pub const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 300;

/// What a node knows of images.
#[derive(Default)]
pub struct Images {
    /// Pulls that failed lately, by pod and image.
    failed: Mutex<HashMap<(String, String), Failed>>,
    /// Pulls that are under way, by image: pods that want the same wait for the same pull.
    pulls: Mutex<HashMap<String, Pull>>,
    /// Whether one has been pulled since [`Images::have_changed`] was last called.
    changed: AtomicBool,
}

/// A pull that is under way, and what it comes to.
type Pull = Shared<BoxFuture<'static, Result<(), Error>>>;

/// A pull that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    wait: i64,
    /// When it may be tried again.
    pub until: Timestamp,
    /// Why it failed.
    pub error: String,
}

impl Images {
    /// Forgets a pod's failures.
    pub fn forget(&self, uid: &str) {
        self.failed.lock().retain(|(of, _), _| of != uid);
    }

    /// Whether images have come since this was last asked.
    pub fn have_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Fetches an image, together with everybody else who wants it now. It is fetched to the end even when all of them
    /// have given up: the next to ask finds it here.
    pub async fn pull(&self, runtime: &Arc<dyn Runtime>, reference: &str) -> Result<(), Error> {
        let pull = {
            let mut pulls = self.pulls.lock();
            pulls.retain(|_, pull| pull.peek().is_none());
            let pull = pulls.entry(reference.to_owned()).or_insert_with(|| {
                let (runtime, reference) = (runtime.clone(), reference.to_owned());
                let task = tokio::spawn(async move { runtime.pull(&reference).await });
                let done =
                    task.map(|done| done.unwrap_or_else(|error| Err(Error::Refused(error.to_string()))));
                done.boxed().shared()
            });
            pull.clone()
        };
        let pulled = pull.await;
        self.changed.store(true, Ordering::Relaxed);
        pulled
    }

    /// The failure that has to be waited out before the image is pulled again; none if there is nothing to wait for.
    pub fn waiting(&self, key: &(String, String), now: Timestamp) -> Option<Failed> {
        self.failed.lock().get(key).filter(|failed| failed.until > now).cloned()
    }

    /// Notes a failed pull, and doubles the wait after the one before. Answers when to try again.
    pub fn note(&self, key: (String, String), now: Timestamp, error: &str) -> Timestamp {
        let mut failed = self.failed.lock();
        let wait = failed.get(&key).map_or(FIRST_WAIT, |known| (known.wait * 2).min(LONGEST_WAIT));
        let until = later(now, SignedDuration::from_secs(wait));
        failed.insert(key, Failed { wait, until, error: error.into() });
        until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coracle_client::Clock;

    use super::*;
    use crate::runtime::sim::SimRuntime;

    #[test]
    fn waits_double() {
        let images = Images::default();
        let now = Timestamp::from_second(1000).unwrap();
        let key = || ("u".to_owned(), "i".to_owned());
        let waits: Vec<i64> =
            (0..7).map(|_| images.note(key(), now, "e").duration_since(now).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert!(images.waiting(&key(), now).is_some());
        images.forget("u");
        assert!(images.waiting(&key(), now).is_none());
    }

    /// Pods of one Deployment want one image at one moment.
    #[tokio::test(start_paused = true)]
    async fn one_pull_serves_all_who_want_the_image() {
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        runtime.pulls_take(Duration::from_secs(10));
        let engine: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let images = Images::default();
        let impatient = tokio::time::timeout(Duration::from_secs(1), images.pull(&engine, "a")).await;
        assert!(impatient.is_err() && !images.have_changed());
        let all = futures::future::join_all((0..5).map(|_| images.pull(&engine, "a")));
        let (all, other) = tokio::join!(all, images.pull(&engine, "b"));
        assert!(all.into_iter().all(|pulled| pulled.is_ok()) && other.is_ok());
        assert_eq!(runtime.pulls(), 2, "one for each image");
        assert!(images.have_changed() && !images.have_changed());
        images.pull(&engine, "a").await.unwrap();
        assert_eq!(runtime.pulls(), 3, "what is over is not shared");
    }
}
