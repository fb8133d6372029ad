//! Typed copies of the cluster's objects, kept by one watch for a whole process.
//!
//! ```text
//!  list each kind --> Store<K> ... --> handlers
//!  one watch behind all lists --> the store of the event's kind --> handlers --> revision moves on
//!     | broke off: again from the same revision, after a wait
//!     | 410:       list again, hand out the differences
//!     | refused:   say so, once for each reason; tell whoever waits; try again after a wait
//! ```

mod index;
mod store;
mod stored;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Kind, KindRef, Revision};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use index::{Index, NsName};
pub use store::{Change, Store};
use store::{Sink, Step};
pub use stored::{Metadata, Stored};

use crate::backoff::Backoff;
use crate::deadline::{ANSWER, in_time};
use crate::typed::Typed;
use crate::{Chance, Client, Error, Event, Interest};

/// First and longest wait before a broken watch is resumed.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long somebody waits for the stores to be filled, or to catch up with a revision, before that is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stores of a process. Cheap to clone.
#[derive(Clone)]
pub struct Informers(Arc<Shared>);

struct Shared {
    client: Arc<dyn Client>,
    chance: Chance,
    kinds: Mutex<BTreeMap<KindRef, Registered>>,
    /// Rung when a kind is added.
    added: Notify,
    progress: watch::Sender<Progress>,
}

struct Registered {
    interest: Interest,
    /// Its stores: a typed one, one of metadata, or both.
    sinks: Sinks,
    /// The same stores, to be handed out under their types.
    stores: Vec<Arc<dyn Any + Send + Sync>>,
    /// The revision of the latest list; `None` before the first.
    listed: Option<Revision>,
}

/// How far the stores are.
#[derive(Clone, Debug, Default, PartialEq)]
struct Progress {
    /// Every change up to here is in the stores.
    revision: Revision,
    /// Whether every kind has been listed.
    synced: bool,
    /// What went wrong when objects were last listed or watched.
    trouble: Option<Trouble>,
    /// Whether nobody fills the stores any more.
    ended: bool,
}

/// Why the stores do not follow the cluster.
#[derive(Clone, Debug, PartialEq)]
struct Trouble {
    /// The whole sentence.
    reason: String,
    /// The server said no: waiting alone will not help.
    refused: bool,
}

/// How the informers are, for health checks and for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Whether every store has been filled once.
    pub synced: bool,
    /// Every change up to here is in the stores.
    pub revision: Revision,
    /// Why the stores do not follow the cluster now; `None` while they do.
    pub trouble: Option<String>,
}

impl Informers {
    /// Without stores yet; nothing is asked of the client before [`Informers::run`].
    pub fn new(client: Arc<dyn Client>) -> Informers {
        Informers::with_chance(client, Chance::unforeseen())
    }

    /// The same, with a source of chance for the waits between attempts.
    pub fn with_chance(client: Arc<dyn Client>, chance: Chance) -> Informers {
        let (progress, _) = watch::channel(Progress::default());
        let (kinds, added) = (Mutex::default(), Notify::new());
        Informers(Arc::new(Shared { client, chance, kinds, added, progress }))
    }

    /// The store of a type, with all its objects. Asking again gives the same store.
    pub fn store<K: Typed>(&self) -> Store<K> {
        self.store_of(Interest::all(K::kind()))
    }

    /// The store of a type with only the objects of an interest, which must be in the type's kind. The first to ask
    /// for a type decides its interest; asking again gives the same store.
    pub fn store_of<K: Typed>(&self, interest: Interest) -> Store<K> {
        self.register(interest)
    }

    /// The store of the metadata of all objects of a kind, whatever its type. Asking again gives the same store.
    pub fn metadata(&self, kind: &KindRef) -> Store<Metadata> {
        self.register(Interest::all(kind))
    }

    fn register<K: Stored>(&self, interest: Interest) -> Store<K> {
        let mut kinds = self.0.kinds.lock();
        let known = kinds.entry(interest.kind.clone()).or_insert_with(|| Registered {
            interest,
            sinks: Vec::new(),
            stores: Vec::new(),
            listed: None,
        });
        if let Some(store) = known.stores.iter().find_map(|store| store.downcast_ref::<Store<K>>()) {
            return store.clone();
        }
        let store = Store::<K>::new();
        known.sinks.push(Arc::new(store.clone()));
        known.stores.push(Arc::new(store.clone()));
        known.listed = None;
        self.0.progress.send_modify(|progress| progress.synced = false);
        drop(kinds);
        self.0.added.notify_one();
        store
    }

    /// Watches a kind no more, which is not served any longer. Its stores stay as they are.
    pub fn forget(&self, kind: &Kind) {
        if self.0.kinds.lock().remove(kind).is_some() {
            self.0.added.notify_one();
        }
    }

    /// Whether all objects of a kind are in a store here, so that every write to it will be seen.
    pub fn holds_all_of(&self, kind: &KindRef) -> bool {
        self.0.kinds.lock().get(kind).is_some_and(|known| known.interest == Interest::all(kind))
    }

    /// The revision up to which every change is in the stores.
    pub fn revision(&self) -> Revision {
        self.0.progress.borrow().revision
    }

    /// Whether the stores follow the cluster, and if not, why.
    pub fn health(&self) -> Health {
        let progress = self.0.progress.borrow();
        let trouble = progress.trouble.as_ref().map(|trouble| trouble.reason.clone());
        Health { synced: progress.synced, revision: progress.revision, trouble }
    }

    /// Waits until every store has been filled once.
    ///
    /// # Errors
    /// [`Error::NotSynced`] when a list or watch is refused, when it takes too long, or when [`Informers::run`] has ended.
    pub async fn synced(&self) -> Result<(), Error> {
        self.until(|progress| progress.synced).await
    }

    /// The same, for whoever has nothing else to do: waits through refusals and outages, of which the informers tell,
    /// until it is cancelled. Returns whether the stores are filled.
    pub async fn synced_or_cancelled(&self, cancel: &CancellationToken) -> bool {
        let wait = async {
            while self.synced().await.is_err() {
                tokio::time::sleep(LONGEST_WAIT).await
            }
        };
        cancel.run_until_cancelled(wait).await.is_some()
    }

    /// Waits until the stores hold every change up to `revision`.
    ///
    /// # Errors
    /// As [`Informers::synced`].
    pub async fn wait_for(&self, revision: Revision) -> Result<(), Error> {
        self.until(|progress| progress.synced && progress.revision >= revision).await
    }

    async fn until(&self, holds: impl Fn(&Progress) -> bool) -> Result<(), Error> {
        let mut progress = self.0.progress.subscribe();
        let settled = |progress: &Progress| {
            holds(progress) || progress.ended || progress.trouble.as_ref().is_some_and(|t| t.refused)
        };
        let waited = tokio::time::timeout(PATIENCE, progress.wait_for(settled)).await.is_err();
        let progress = self.0.progress.borrow().clone();
        if holds(&progress) {
            return Ok(());
        }
        Err(Error::NotSynced(match progress.trouble {
            Some(trouble) => trouble.reason,
            None if waited => format!("still waiting after {} s", PATIENCE.as_secs()),
            None => "the informers have stopped".into(),
        }))
    }

    /// Fills the stores and keeps them up to date until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        /// Tells whoever waits, also when the task is dropped or panics.
        struct Ended<'a>(&'a watch::Sender<Progress>);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|progress| progress.ended = true);
            }
        }
        self.0.progress.send_modify(|progress| progress.ended = false);
        let _ended = Ended(&self.0.progress);
        cancel.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        let mut backoff = Backoff::with_chance(FIRST_WAIT, LONGEST_WAIT, self.0.chance.clone());
        loop {
            let broken = match self.list_unlisted().await {
                Ok(()) => self.follow(&mut backoff).await,
                Err(error) => Err(error),
            };
            match broken {
                // A kind was added: list it and go on.
                Ok(()) => continue,
                Err(Error::Expired { since }) => {
                    tracing::info!(%since, "watch expired; listing again");
                    self.0.kinds.lock().values_mut().for_each(|known| known.listed = None);
                }
                Err(error) => self.note_trouble(&error),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Remembers why the stores do not follow the cluster, and says so where the reason is a new one.
    fn note_trouble(&self, error: &Error) {
        let refused = !matches!(error, Error::Unreachable(_));
        let reason = match error {
            Error::NotSynced(reason) => reason.clone(),
            error => error.to_string(),
        };
        let trouble = Trouble { reason, refused };
        let is_new = self.0.progress.send_if_modified(|progress| {
            let is_new = progress.trouble.as_ref() != Some(&trouble);
            progress.trouble = Some(trouble);
            is_new
        });
        match (is_new, refused) {
            (false, _) => {}
            (true, true) => tracing::warn!(%error, "cannot follow the cluster; trying again"),
            // Servers are restarted, and connections break.
            (true, false) => tracing::info!(%error, "lost sight of the cluster; trying again"),
        }
    }

    fn note_recovery(&self) {
        let recovered = self.0.progress.send_if_modified(|progress| progress.trouble.take().is_some());
        if recovered {
            tracing::info!("following the cluster again");
        }
    }

    /// Lists every kind that has not been listed, or not since it expired.
    async fn list_unlisted(&self) -> Result<(), Error> {
        loop {
            let unlisted = {
                let kinds = self.0.kinds.lock();
                kinds.values().find(|k| k.listed.is_none()).map(|k| (k.interest.clone(), k.sinks.clone()))
            };
            let Some((interest, sinks)) = unlisted else { break };
            let listed = in_time(ANSWER, self.0.client.list(&interest)).await;
            let (objects, revision) =
                listed.map_err(|error| about(error, "list", std::slice::from_ref(&interest.kind)))?;
            sinks.iter().for_each(|sink| sink.replace(&objects, revision));
            if let Some(known) = self.0.kinds.lock().get_mut(&interest.kind) {
                known.listed = Some(revision);
            }
        }
        // All stores are complete up to the oldest list; the watch starts there.
        let kinds = self.0.kinds.lock();
        let oldest = kinds.values().filter_map(|known| known.listed).min();
        self.0.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(oldest.unwrap_or_default());
            progress.synced = true;
        });
        Ok(())
    }

    /// Follows one watch for all kinds. `Ok` when a kind was added.
    async fn follow(&self, backoff: &mut Backoff) -> Result<(), Error> {
        let Some((interests, follows)) = self.listed() else { return Ok(()) };
        let kinds: Vec<KindRef> = interests.iter().map(|interest| interest.kind.clone()).collect();
        let events = in_time(ANSWER, self.0.client.watch(interests, self.revision())).await;
        let mut events = events.map_err(|error| about(error, "watch", &kinds))?;
        self.note_recovery();
        loop {
            let event = tokio::select! {
                biased;
                () = self.0.added.notified() => {
                    if self.is_changed(&kinds) { return Ok(()) }
                    continue;
                }
                event = events.next() => event,
            };
            let event = event.unwrap_or_else(|| Err(Error::Unreachable("the watch ended".into())))?;
            backoff.reset();
            let (object, step) = match &event {
                Event::Added(object) | Event::Modified(object) => (Some(object), Step::Put),
                Event::Deleted(object) => (Some(object), Step::Drop),
                Event::Bookmark(_) => (None, Step::Drop),
            };
            let sink = object.and_then(|object| Some((object, follows.get(&object.key.kind)?)));
            // The watch starts where the oldest list ends; the younger ones have these changes already.
            if let Some((object, (listed, sinks))) = sink
                && object.revision > *listed
            {
                sinks.iter().for_each(|sink| sink.apply(step, object));
            }
            self.0.progress.send_if_modified(|progress| {
                let moved = event.revision() > progress.revision;
                progress.revision = progress.revision.max(event.revision());
                moved
            });
        }
    }

    /// Whether other kinds are to be watched than these, or one of them has yet to be listed.
    fn is_changed(&self, watched: &[KindRef]) -> bool {
        let kinds = self.0.kinds.lock();
        kinds.values().any(|known| known.listed.is_none()) || !kinds.keys().eq(watched)
    }

    /// What to watch, and where its changes go; `None` while a kind has yet to be listed.
    fn listed(&self) -> Option<(Vec<Interest>, Follows)> {
        let kinds = self.0.kinds.lock();
        let interests = kinds.values().map(|known| known.interest.clone()).collect();
        let follows: Option<Follows> = kinds
            .iter()
            .map(|(kind, known)| Some((kind.clone(), (known.listed?, known.sinks.clone()))))
            .collect();
        Some((interests, follows?))
    }
}

/// The same error, with what was asked for in its text: `cannot list poddisruptionbudgets.policy: ...`.
fn about(error: Error, verb: &str, kinds: &[KindRef]) -> Error {
    if !matches!(error, Error::Refused(_) | Error::Malformed(_)) {
        return error;
    }
    let names: Vec<String> = kinds.iter().map(|kind| kind.qualified_resource()).collect();
    Error::NotSynced(format!("cannot {verb} {}: {error}", names.join(", ")))
}

/// The stores of one kind.
type Sinks = Vec<Arc<dyn Sink>>;

/// For each kind the revision of its list and its stores.
type Follows = BTreeMap<KindRef, (Revision, Sinks)>;

#[cfg(test)]
mod tests;
