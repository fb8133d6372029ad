//! A client for tests that refuses what it is told to refuse, and remembers every write with its time.
//!
//! The fake cluster behind it knows less than the real server; what a test needs beyond that it can say in its own words
//! by [`Faulty::translate`].

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::{Key, Object, Revision, Status};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::{Client, Error, Event, Interest, Op, Write};

/// Stands in front of another client. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Faulty(Arc<Shared>);

type RefuseWrite = Box<dyn Fn(&Write) -> Option<Status> + Send + Sync>;
type Translate = Box<dyn Fn(Op) -> Op + Send + Sync>;
type RefuseRead = Box<dyn Fn(&Interest) -> Option<Error> + Send + Sync>;

struct Shared {
    kinds: coracle_api::kinds::Kinds,
    state: Mutex<State>,
}

struct State {
    inner: Arc<dyn Client>,
    refuse_write: RefuseWrite,
    refuse_list: RefuseRead,
    refuse_watch: RefuseRead,
    translate: Translate,
    writes: Vec<(Instant, Write)>,
    /// A caller that has written this often is never answered again: on paused time a caller that spins would
    /// otherwise keep the clock from moving, and the test from ending.
    most_writes: usize,
}

impl Faulty {
    /// Refuses nothing yet.
    pub fn new(inner: Arc<dyn Client>) -> Faulty {
        let kinds = inner.kinds().clone();
        let state = State {
            inner,
            refuse_write: Box::new(|_| None),
            refuse_list: Box::new(|_| None),
            refuse_watch: Box::new(|_| None),
            translate: Box::new(|op| op),
            writes: Vec::new(),
            most_writes: usize::MAX,
        };
        Faulty(Arc::new(Shared { kinds, state: Mutex::new(state) }))
    }

    /// From now on answers each write that this function has a status for with that status.
    pub fn refuse_writes(&self, refuse: impl Fn(&Write) -> Option<Status> + Send + Sync + 'static) {
        self.0.state.lock().refuse_write = Box::new(refuse);
    }

    /// From now on answers each list that this function has an error for with that error.
    pub fn refuse_lists(&self, refuse: impl Fn(&Interest) -> Option<Error> + Send + Sync + 'static) {
        self.0.state.lock().refuse_list = Box::new(refuse);
    }

    /// From now on refuses each watch of an interest, alone or among others, that this function has an error for.
    pub fn refuse_watches(&self, refuse: impl Fn(&Interest) -> Option<Error> + Send + Sync + 'static) {
        self.0.state.lock().refuse_watch = Box::new(refuse);
    }

    /// From now on another client stands behind it, as after the restore of a backup.
    pub fn replace(&self, inner: Arc<dyn Client>) {
        self.0.state.lock().inner = inner;
    }

    fn inner(&self) -> Arc<dyn Client> {
        self.0.state.lock().inner.clone()
    }

    /// From now on passes on what this function makes of each write.
    pub fn translate(&self, translate: impl Fn(Op) -> Op + Send + Sync + 'static) {
        self.0.state.lock().translate = Box::new(translate);
    }

    /// Stops answering once this many writes have arrived.
    pub fn stop_after(&self, writes: usize) {
        self.0.state.lock().most_writes = writes;
    }

    /// Every write that has arrived, refused ones included, with its time.
    pub fn writes(&self) -> Vec<(Instant, Write)> {
        self.0.state.lock().writes.clone()
    }

    /// Forgets the writes so far.
    pub fn forget_writes(&self) {
        self.0.state.lock().writes.clear();
    }
}

#[async_trait]
impl Client for Faulty {
    fn kinds(&self) -> &coracle_api::kinds::Kinds {
        &self.0.kinds
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        self.inner().get(key).await
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        let refused = (self.0.state.lock().refuse_list)(interest);
        match refused {
            Some(error) => Err(error),
            None => self.inner().list(interest).await,
        }
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let refused = {
            let state = self.0.state.lock();
            interests.iter().find_map(|interest| (state.refuse_watch)(interest))
        };
        match refused {
            Some(error) => Err(error),
            None => self.inner().watch(interests, since).await,
        }
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        let (passing, stuck) = {
            let mut state = self.0.state.lock();
            let now = Instant::now();
            state.writes.extend(writes.iter().map(|write| (now, write.clone())));
            let pass = |write: Write| match (state.refuse_write)(&write) {
                Some(status) => Err(status),
                None => Ok(Write { op: (state.translate)(write.op), ..write }),
            };
            let passing: Vec<Result<Write, Status>> = writes.into_iter().map(pass).collect();
            (passing, state.writes.len() > state.most_writes)
        };
        if stuck {
            return std::future::pending().await;
        }
        let passed = passing.iter().filter_map(|write| write.as_ref().ok()).cloned().collect();
        let mut passed = self.inner().write(passed).await?.into_iter();
        let outcomes = passing.into_iter().map(|write| match write {
            Err(status) => Some(Err(status)),
            Ok(_) => passed.next(),
        });
        outcomes.collect::<Option<_>>().ok_or_else(|| Error::Malformed("too few outcomes".into()))
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        self.inner().report(verdicts).await
    }
}
