//! A cluster small enough for a test: objects in a map, one counter, watches. Preconditions, conflicts, grace periods,
//! finalizers, patches, selectors and who holds a range of pods' addresses are the real server's; it validates nothing and defaults nothing but kinds, names,
//! uids and revisions. What the real server does beyond that is tested there.

mod select;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Revision, Status};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{Client, Clock, Error, Event, Interest, Write};
use select::{Change, Selection};

/// The cluster. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>, Kinds);

struct Watcher {
    selections: Vec<Selection>,
    events: mpsc::UnboundedSender<Result<Event, Error>>,
}

struct State {
    clock: Clock,
    revision: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    log: Vec<Change>,
    /// Watches from before this revision are refused with `Expired`.
    compacted: u64,
    watchers: Vec<Watcher>,
    verdicts: HashMap<Key, Value>,
    writes: Vec<Write>,
    /// Answers to hand out instead of the next writes.
    refusals: Vec<Error>,
    /// Whether a refused write happens all the same.
    refused_happen: bool,
    /// How many calls fail before one succeeds again.
    unreachable: u32,
    /// Changes from this position of the log on are held back from the watches.
    held_back: Option<usize>,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake::new()
    }
}

impl Fake {
    /// An empty cluster.
    pub fn new() -> Fake {
        Fake::with_clock(Clock::system())
    }

    /// An empty cluster whose deletions are due by this clock.
    pub fn with_clock(clock: Clock) -> Fake {
        Fake(
            Arc::new(Mutex::new(State {
                clock,
                revision: 0,
                objects: BTreeMap::new(),
                log: Vec::new(),
                compacted: 0,
                watchers: Vec::new(),
                verdicts: HashMap::new(),
                writes: Vec::new(),
                refusals: Vec::new(),
                refused_happen: false,
                unreachable: 0,
                held_back: None,
            })),
            Kinds::new(),
        )
    }

    /// The cluster's revision.
    pub fn revision(&self) -> Revision {
        Revision(self.0.lock().revision)
    }

    /// An object as it is now, even while calls of clients are made to fail.
    pub fn peek(&self, key: &Key) -> Option<Arc<Object>> {
        self.0.lock().objects.get(key).cloned()
    }

    /// Every write that has arrived, in order.
    pub fn writes(&self) -> Vec<Write> {
        self.0.lock().writes.clone()
    }

    /// The latest verdict on a pod.
    pub fn verdict(&self, pod: &Key) -> Option<Value> {
        self.0.lock().verdicts.get(pod).cloned()
    }

    /// Breaks every watch off, as a lost connection does.
    pub fn break_watches(&self) {
        self.0.lock().watchers.clear();
    }

    /// Forgets the change log: watches from before now are refused with [`Error::Expired`].
    pub fn compact(&self) {
        let mut state = self.0.lock();
        state.compacted = state.revision;
        state.log.clear();
        state.watchers.clear();
        state.held_back = state.held_back.map(|_| 0);
    }

    /// Answers the next write with an error; with `happens` it is done all the same.
    pub fn fail_next_write(&self, error: Error, happens: bool) {
        let mut state = self.0.lock();
        state.refusals.push(error);
        state.refused_happen = happens;
    }

    /// Lets so many calls fail, as if the server could not be reached.
    pub fn fail_calls(&self, calls: u32) {
        self.0.lock().unreachable = calls;
    }

    /// Holds events back from the watches until [`Fake::let_events_through`].
    pub fn hold_events_back(&self) {
        let mut state = self.0.lock();
        let end = state.log.len();
        state.held_back.get_or_insert(end);
    }

    /// Delivers what was held back.
    pub fn let_events_through(&self) {
        let mut state = self.0.lock();
        let held = state.held_back.take().unwrap_or(state.log.len());
        let late: Vec<Change> = state.log.iter().skip(held).cloned().collect();
        for change in &late {
            state.deliver(change);
        }
    }
}

impl State {
    fn publish(&mut self, change: Change) {
        if self.held_back.is_none() {
            self.deliver(&change);
        }
        self.log.push(change);
    }

    fn deliver(&mut self, change: &Change) {
        self.watchers.retain(|watcher| match change.seen_by(&watcher.selections) {
            Some(event) => watcher.events.send(Ok(event)).is_ok(),
            None => !watcher.events.is_closed(),
        });
    }

    fn reach(&mut self) -> Result<(), Error> {
        if self.unreachable == 0 {
            return Ok(());
        }
        self.unreachable -= 1;
        Err(Error::Unreachable("the fake was told to fail".into()))
    }
}

#[async_trait]
impl Client for Fake {
    fn kinds(&self) -> &Kinds {
        &self.1
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        let mut state = self.0.lock();
        state.reach()?;
        Ok(state.objects.get(key).cloned())
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        let selection = Selection::of(interest)?;
        let mut state = self.0.lock();
        state.reach()?;
        let found = state.objects.values().filter(|object| selection.selects(object)).cloned().collect();
        Ok((found, Revision(state.revision)))
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let selections = interests.iter().map(Selection::of).collect::<Result<Vec<_>, _>>()?;
        let mut state = self.0.lock();
        state.reach()?;
        // A revision that does not come is one from before the restore of a backup.
        if since.0 < state.compacted || since.0 > state.revision {
            return Err(Error::Expired { since });
        }
        let (events, receive) = mpsc::unbounded_channel();
        let shown = state.held_back.unwrap_or(state.log.len());
        for change in state.log[..shown].iter().filter(|change| change.revision > since) {
            // Cannot fail: the receiver is right here.
            let _ = change.seen_by(&selections).map(|event| events.send(Ok(event)));
        }
        state.watchers.push(Watcher { selections, events });
        Ok(UnboundedReceiverStream::new(receive).boxed())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        let mut state = self.0.lock();
        state.reach()?;
        state.writes.extend(writes.iter().cloned());
        let refusal = state.refusals.pop();
        if refusal.is_none() || state.refused_happen {
            let outcomes = writes.into_iter().map(|write| state.apply(write.op)).collect();
            return refusal.map_or(Ok(outcomes), Err);
        }
        refusal.map_or(Ok(Vec::new()), Err)
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.0.lock().verdicts.extend(verdicts);
        Ok(())
    }
}
