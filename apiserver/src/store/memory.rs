//! The store in memory: for tests and simulations. No thread, no file; what it holds ends with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Key, Revision};
use parking_lot::Mutex;

use super::ledger::Ledger;
use super::{BEFORE_ALL, Batch, Bounds, Committed, Follower, Loaded, Outcome, Store, StoreError, Verb};

/// A store that lives in memory alone. [`Memory::another`] is the same store as another server sees it.
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// Which of the followers is this door's; none before the store is loaded and after it is closed.
    door: Mutex<Option<u64>>,
}

struct Inner {
    ledger: Ledger,
    /// What lived when the log begins, each as the change that led to it.
    base: BTreeMap<Key, Committed>,
    floor: Revision,
    log: VecDeque<Committed>,
    bounds: Bounds,
    followers: BTreeMap<u64, Arc<dyn Follower>>,
    doors: u64,
}

impl Memory {
    /// An empty store that keeps as many changes as the bounds say.
    pub fn new(bounds: Bounds) -> Memory {
        let inner = Inner {
            ledger: Ledger::empty(BEFORE_ALL),
            base: BTreeMap::new(),
            floor: BEFORE_ALL,
            log: VecDeque::new(),
            bounds,
            followers: BTreeMap::new(),
            doors: 0,
        };
        Memory { inner: Arc::new(Mutex::new(inner)), door: Mutex::default() }
    }

    /// Another door to what this one holds, as another server has, or the same one when it starts again.
    pub fn another(&self) -> Memory {
        Memory { inner: self.inner.clone(), door: Mutex::default() }
    }
}

#[async_trait]
impl Store for Memory {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let base = inner.base.values().cloned().collect();
        follower.load(Loaded { base, floor: inner.floor, log: inner.log.iter().cloned().collect() });
        inner.doors += 1;
        let door = inner.doors;
        inner.followers.insert(door, follower);
        *self.door.lock() = Some(door);
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        let mut inner = self.inner.lock();
        if self.door.lock().is_none() {
            return Err(StoreError::Closed);
        }
        let mut draft = inner.ledger.draft();
        let outcomes = draft.add(batch)?;
        let changes = draft.changes;
        for change in &changes {
            inner.ledger.apply(change);
        }
        inner.log.extend(changes.iter().cloned());
        inner.forget();
        for follower in inner.followers.values() {
            follower.publish(changes.clone());
        }
        Ok(outcomes)
    }

    fn age(&self) {}

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {
        let mut inner = self.inner.lock();
        if let Some(door) = self.door.lock().take() {
            inner.followers.remove(&door);
        }
    }
}

impl Inner {
    /// Moves the oldest changes from the log to the base.
    fn forget(&mut self) {
        let count = self.log.len().saturating_sub(self.bounds.count);
        for change in self.log.drain(..count) {
            self.floor = change.object.revision;
            match change.verb {
                Verb::Delete => drop(self.base.remove(&change.object.key)),
                Verb::Create | Verb::Update => drop(self.base.insert(change.object.key.clone(), change)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::suite::{self, Listener, change, commit};
    use super::*;

    #[tokio::test]
    async fn it_keeps_what_every_store_promises() {
        let stores = Mutex::new(HashMap::<String, Memory>::new());
        let bounds = Bounds { count: 15, ..Bounds::default() };
        suite::run(|name| stores.lock().entry(name.into()).or_insert_with(|| Memory::new(bounds)).another())
            .await;
    }

    #[tokio::test]
    async fn two_servers_on_one_store_see_the_same() {
        let first = Memory::new(Bounds::default());
        let second = first.another();
        let (one, two) = (Listener::default(), Listener::default());
        first.load(Arc::new(one.clone())).await.unwrap();
        commit(&first, change("a", None, Verb::Create, "1")).await.unwrap();
        second.load(Arc::new(two.clone())).await.unwrap();
        commit(&second, change("b", None, Verb::Create, "1")).await.unwrap();
        let stale = commit(&first, change("b", None, Verb::Create, "2")).await;
        assert!(matches!(stale, Err(StoreError::Conflict { .. })));
        assert_eq!(one.world(), two.world());
        assert_eq!(one.world().lives.len(), 2);
        first.close().await;
        commit(&second, change("c", None, Verb::Create, "1")).await.unwrap();
        assert_eq!((one.world().lives.len(), two.world().lives.len()), (2, 3));
    }
}
