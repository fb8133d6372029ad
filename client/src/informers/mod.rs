//! Typed copies of the cluster's objects, kept by one watch for a whole process.
//!
//! ```text
//!  list each kind --> Store<K> ... --> handlers
//!  one watch behind all lists --> the store of the event's kind --> handlers --> revision moves on
//!     | broke off:    again from the same revision, after a wait
//!     | 410:          list again, hand out the differences
//!     | kind refused: say so, once for each reason; tell whoever needs it; try again after a wait; go on with the others
//! ```
//!
//! Each part of a process has a handle of its own ([`Informers::part`]) and waits for what it has asked for by that handle, and
//! for nothing else: a kind that is refused holds up those who need it, not the whole process.

mod index;
mod keep;
mod state;
mod store;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Kind, KindRef, Revision};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use index::{Index, NsName};
use state::{Need, Needs, Registered, State};
pub use store::{Change, Store};
pub use stored::{Metadata, Stored};

use crate::backoff::Backoff;
use crate::typed::Typed;
use crate::{Chance, Client, Error, Interest};

/// First and longest wait before a broken watch is resumed.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The longest wait before a kind is asked for again that was refused. Each time costs a list, and the watch of the others is
/// begun anew.
const LONGEST_REFUSED: Duration = Duration::from_secs(30);

/// How long somebody waits for the stores to be filled, or to catch up with a revision, before that is an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// The stores of a process, as one part of it sees them. Cheap to clone; clones are the same part.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Shared>,
    /// What this part has asked for.
    needs: Arc<Mutex<Needs>>,
}

struct Shared {
    client: Arc<dyn Client>,
    chance: Chance,
    state: watch::Sender<State>,
    /// Rung when a kind comes or goes.
    added: Notify,
}

impl Informers {
    /// Without stores yet; nothing is asked of the client before [`Informers::run`].
    pub fn new(client: Arc<dyn Client>) -> Informers {
        Informers::with_chance(client, Chance::unforeseen())
    }

    /// The same, with a source of chance for the waits between attempts.
    pub fn with_chance(client: Arc<dyn Client>, chance: Chance) -> Informers {
        let (state, added) = (watch::channel(State::default()).0, Notify::new());
        Informers { shared: Arc::new(Shared { client, chance, state, added }), needs: Arc::default() }
    }

    /// The same stores for another part of the process, which waits for what it asks for by this handle and for nothing else.
    #[must_use]
    pub fn part(&self) -> Informers {
        Informers { shared: self.shared.clone(), needs: Arc::default() }
    }

    /// The store of a type, with all its objects. Asking again gives the same store.
    pub fn store<K: Typed>(&self) -> Store<K> {
        self.store_of(Interest::all(K::kind()))
    }

    /// The store of a type with only the objects of an interest, which must be in the type's kind. The first to ask
    /// for a type decides its interest; asking again gives the same store.
    pub fn store_of<K: Typed>(&self, interest: Interest) -> Store<K> {
        self.register(interest, Need::Always)
    }

    /// The store of the metadata of all objects of a kind, whatever its type. Asking again gives the same store. As it is for
    /// those who look after all kinds alike, nobody waits for it where the server refuses to show the kind.
    pub fn metadata(&self, kind: &KindRef) -> Store<Metadata> {
        self.register(Interest::all(kind), Need::IfServed)
    }

    /// The store of all objects of a kind in the form that `K` is of them. Asking again gives the same store.
    pub fn store_as<K: Stored>(&self, kind: impl Into<KindRef>) -> Store<K> {
        self.register(Interest::all(kind), Need::Always)
    }

    fn register<K: Stored>(&self, interest: Interest, need: Need) -> Store<K> {
        let kind = interest.kind.clone();
        let mut found = None;
        self.shared.state.send_if_modified(|state| {
            let known = state.kinds.entry(kind.clone()).or_insert_with(|| Registered {
                interest,
                sinks: Vec::new(),
                stores: Vec::new(),
                listed: None,
                filled: false,
                refused: None,
                backoff: Backoff::with_chance(FIRST_WAIT, LONGEST_REFUSED, self.shared.chance.clone()),
            });
            found = known.stores.iter().find_map(|store| store.downcast_ref::<Store<K>>()).cloned();
            if found.is_none() {
                let store = Store::<K>::new();
                known.sinks.push(Arc::new(store.clone()));
                known.stores.push(Arc::new(store.clone()));
                (known.listed, known.filled) = (None, false);
                found = Some(store);
                self.shared.added.notify_one();
            }
            // Nobody waits for a kind to be added.
            false
        });
        let mut needs = self.needs.lock();
        let known = needs.entry(kind).or_insert(need);
        *known = need.max(*known);
        // Found or made above.
        found.unwrap_or_default()
    }

    /// Watches a kind no more, which is not served any longer. Its stores stay as they are.
    pub fn forget(&self, kind: &Kind) {
        let known = self.shared.state.send_if_modified(|state| state.kinds.remove(kind).is_some());
        self.needs.lock().remove(kind);
        if known {
            self.shared.added.notify_one();
        }
    }

    /// Whether all objects of a kind are in a store here, so that every write to it will be seen.
    pub fn holds_all_of(&self, kind: &KindRef) -> bool {
        let state = self.shared.state.borrow();
        state.kinds.get(kind).is_some_and(|known| known.interest == Interest::all(kind))
    }

    /// The revision up to which every change is in the stores.
    pub fn revision(&self) -> Revision {
        self.shared.state.borrow().revision
    }

    /// Whether the stores of the whole process follow the cluster.
    ///
    /// # Errors
    /// Which do not, and why.
    pub fn health(&self) -> Result<(), String> {
        let troubles = self.shared.state.borrow().troubles();
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
    }

    /// Waits until every store that was asked for by this handle has been filled once.
    ///
    /// # Errors
    /// [`Error::NotSynced`] when a list or watch is refused, when it takes too long, or when [`Informers::run`] has ended.
    pub async fn synced(&self) -> Result<(), Error> {
        self.wait_for(Revision::default()).await
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

    /// Waits until the stores that were asked for by this handle hold every change up to `revision`.
    ///
    /// # Errors
    /// As [`Informers::synced`].
    pub async fn wait_for(&self, revision: Revision) -> Result<(), Error> {
        let needs = self.needs.lock().clone();
        let holds = |state: &State| state.has(&needs) && state.revision >= revision;
        let settled = |state: &State| holds(state) || state.ended || state.refusal(&needs).is_some();
        let mut changes = self.shared.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, changes.wait_for(settled)).await.is_err();
        let state = self.shared.state.borrow();
        if holds(&state) {
            return Ok(());
        }
        Err(Error::NotSynced(match (state.refusal(&needs), &state.lost) {
            (Some(refused), _) => refused.to_owned(),
            (None, Some(lost)) => lost.clone(),
            (None, None) if waited => format!("still waiting after {} s", PATIENCE.as_secs()),
            (None, None) => "the informers have stopped".into(),
        }))
    }

    /// Fills the stores and keeps them up to date until cancelled.
    pub async fn run(&self, cancel: CancellationToken) {
        /// Tells whoever waits, also when the task is dropped or panics.
        struct Ended<'a>(&'a watch::Sender<State>);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|state| state.ended = true);
            }
        }
        self.shared.state.send_modify(|state| state.ended = false);
        let _ended = Ended(&self.shared.state);
        cancel.run_until_cancelled(self.keep()).await;
    }
}

#[cfg(test)]
mod tests;
