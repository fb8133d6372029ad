//! The work queue: keys to look at, each at most once at a time.
//!
//! ```text
//!  add ----> ready --get--> running --done--> (added meanwhile? ready : gone)
//!  add_after --> delayed --due--^
//!  retry ------^ (exponential, by key)
//! ```
//!
//! What a run writes wakes its own key, as any change does: a plan is made again until there is nothing left to do. But
//! what a *failed* run has written does not cut its key's back-off short, or a run that writes something before it fails
//! would be repeated without pause.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use coracle_api::Revision;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::exponential;

/// First wait after a failure, and the longest; upstream's figures for its controllers.
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_secs(1000);

/// How many causes a key is handed out with. More would make the log heavy without telling more.
const MOST_CAUSES: usize = 16;
/// How many a key keeps while it waits. With more it no longer matters which they are.
const MOST_KEPT: usize = 4096;

/// A queue of keys. Deduplicated; a key that is being worked on is handed out again only after it is done.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    first: Duration,
    most: Duration,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Everything in `ready`, and everything running that was added again meanwhile.
    dirty: HashSet<K>,
    running: HashSet<K>,
    /// By time, then by order of arrival.
    delayed: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    causes: HashMap<K, BTreeSet<Revision>>,
    /// What the last run of each failing key wrote.
    own: HashMap<K, BTreeSet<Revision>>,
    /// Keys that were added for another reason than a change, or for more changes than are kept.
    insistent: HashSet<K>,
    arrivals: u64,
    closed: bool,
}

impl<K: Clone + Eq + Hash + Send> Default for Queue<K> {
    fn default() -> Queue<K> {
        Queue::new()
    }
}

impl<K: Clone + Eq + Hash + Send> Queue<K> {
    /// An empty queue with upstream's back-off: 5 ms, doubled up to 1000 s.
    pub fn new() -> Queue<K> {
        Queue::with_backoff(FIRST_RETRY, LONGEST_RETRY)
    }

    /// An empty queue whose failed keys wait `first`, doubled up to `most`.
    pub fn with_backoff(first: Duration, most: Duration) -> Queue<K> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            running: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            causes: HashMap::new(),
            own: HashMap::new(),
            insistent: HashSet::new(),
            arrivals: 0,
            closed: false,
        };
        Queue { state: Mutex::new(state), changed: Notify::new(), first, most }
    }

    /// Asks for a look at the key, because of a change at this revision.
    pub fn add(&self, key: K, cause: Option<Revision>) {
        self.state.lock().add(key, cause);
        self.changed.notify_one();
    }

    /// Gives a key causes back that it was handed out with, without asking for a look.
    pub fn remember(&self, key: &K, causes: Vec<Revision>) {
        self.state.lock().causes.entry(key.clone()).or_default().extend(causes);
    }

    /// Asks for a look later, unless an earlier one is already planned.
    pub fn add_after(&self, key: K, wait: Duration) {
        if wait.is_zero() {
            return self.add(key, None);
        }
        self.state.lock().add_at(key, Instant::now() + wait);
        self.changed.notify_one();
    }

    /// Asks for another look after a failure: the more failures in a row, the later. `wrote` are the revisions that the
    /// failed run has made itself; they do not bring the key back any earlier.
    pub fn retry(&self, key: K, wrote: &[Revision]) {
        let mut state = self.state.lock();
        if !wrote.is_empty() {
            state.own.insert(key.clone(), wrote.iter().copied().collect());
            state.calm(&key);
        }
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let wait = exponential(self.first, self.most, *failures);
        *failures = failures.saturating_add(1);
        state.add_at(key, Instant::now() + wait);
        drop(state);
        self.changed.notify_one();
    }

    /// It worked: the next failure of this key waits little again.
    pub fn forget(&self, key: &K) {
        let mut state = self.state.lock();
        state.failures.remove(key);
        state.own.remove(key);
    }

    /// The next key and the revisions that brought it here, oldest first; waits for one. `None` once the queue is closed.
    /// Whoever takes a key calls [`Queue::done`] with it.
    pub async fn get(&self) -> Option<(K, Vec<Revision>)> {
        loop {
            // Created before the look, so that a change between look and wait is not missed.
            let changed = self.changed.notified();
            let next = {
                let mut state = self.state.lock();
                if state.closed {
                    // Wake the next waiter in turn; they all leave.
                    self.changed.notify_one();
                    return None;
                }
                if let Some(taken) = state.take(Instant::now()) {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(taken);
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The work on a key is over; if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &K) {
        let mut state = self.state.lock();
        state.running.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Lets every waiting worker go. What is queued is dropped.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// How many keys are ready, waiting for their time, or running.
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.ready.len() + state.delayed.len() + state.running.len()
    }

    /// Whether nothing is to do, now or later.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K, cause: Option<Revision>) {
        let Some(cause) = cause else {
            self.insistent.insert(key.clone());
            return self.make_dirty(key);
        };
        let causes = self.causes.entry(key.clone()).or_default();
        causes.insert(cause);
        if causes.len() > MOST_KEPT {
            causes.pop_first();
            self.insistent.insert(key.clone());
        }
        if !self.own.get(&key).is_some_and(|own| own.contains(&cause)) {
            self.make_dirty(key);
        }
    }

    fn make_dirty(&mut self, key: K) {
        if self.dirty.insert(key.clone()) && !self.running.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// Takes back that a running key was added again, if only its own writes have asked for it.
    fn calm(&mut self, key: &K) {
        let (Some(own), Some(causes)) = (self.own.get(key), self.causes.get(key)) else { return };
        if self.running.contains(key) && !self.insistent.contains(key) && causes.is_subset(own) {
            self.dirty.remove(key);
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if let Some(planned) = self.due.get(&key) {
            if planned.0 <= at {
                return;
            }
            self.delayed.remove(planned);
        }
        self.arrivals += 1;
        self.due.insert(key.clone(), (at, self.arrivals));
        self.delayed.insert((at, self.arrivals), key);
    }

    fn take(&mut self, now: Instant) -> Option<(K, Vec<Revision>)> {
        while let Some(entry) = self.delayed.first_entry().filter(|e| e.key().0 <= now) {
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key, None);
        }
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.insistent.remove(&key);
        self.running.insert(key.clone());
        let causes = self.causes.remove(&key).unwrap_or_default();
        let newest = causes.len().saturating_sub(MOST_CAUSES);
        Some((key, causes.into_iter().skip(newest).collect()))
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
