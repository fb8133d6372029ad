//! What every face reads and writes the cluster's objects through: reads are answered from `state`, writes go through `write` to the store.
//!
//! ```text
//!  REST, gRPC and components in the same process
//!    read  --> state: get, list, watch
//!    write --> write: decode, default, admission, allocate, validate, commit --> store --> state
//! ```

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use coracle_api::kinds::{Kinds, Taken};
use coracle_api::{Key, Kind, KindRef, Object, Revision, Status};
use coracle_client::clock::Clock;
use parking_lot::Mutex;

use crate::admission::chain::Chain;
use crate::entry::Entry;
use crate::large::LargeWork;
use crate::pki::token::AccountTokens;
use crate::state::State;
use crate::state::list::{ListOptions, Listing};
use crate::state::past::Change;
use crate::state::selection::Selection;
use crate::state::watch::{Expired, Watcher};
use crate::store::{Bounds, Store, StoreError};
use crate::write::allocate::Allocator;
use crate::write::under_way::WritesUnderWay;

/// All objects of the cluster: reads from memory, writes through the chain.
pub struct Registry {
    pub(crate) state: Arc<State>,
    pub(crate) store: Box<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) allocator: Mutex<Allocator>,
    /// Signs tokens of service accounts; given once, at the start of a server.
    pub(crate) tokens: OnceLock<Arc<AccountTokens>>,
    /// Whether an agent of this cluster has written: then its nodes are known for what they can do.
    pub(crate) has_agents: AtomicBool,
    pub(crate) writes: WritesUnderWay,
    pub(crate) large: LargeWork,
    pub(crate) chain: Chain,
}

impl Registry {
    /// Loads a store and takes everything in it to memory. How much history is kept there, the bounds say.
    ///
    /// # Errors
    /// What [`Store::load`] says.
    pub async fn open(
        store: Box<dyn Store>,
        bounds: Bounds,
        clock: Clock,
    ) -> Result<Arc<Registry>, StoreError> {
        Registry::open_with(store, bounds, clock, Chain::default()).await
    }

    /// The same with another chain of admission.
    ///
    /// # Errors
    /// What [`Store::load`] says.
    pub async fn open_with(
        store: Box<dyn Store>,
        bounds: Bounds,
        clock: Clock,
        chain: Chain,
    ) -> Result<Arc<Registry>, StoreError> {
        let state = Arc::new(State::new(bounds));
        store.load(state.clone()).await?;
        Ok(Arc::new(Registry {
            state,
            store,
            clock,
            allocator: Mutex::default(),
            tokens: OnceLock::new(),
            has_agents: AtomicBool::new(false),
            writes: WritesUnderWay::default(),
            large: LargeWork::default(),
            chain,
        }))
    }

    /// The threads for work on what is large.
    pub fn large(&self) -> &LargeWork {
        &self.large
    }

    /// Makes it sign tokens of service accounts with this key.
    pub fn sign_tokens_with(&self, tokens: Arc<AccountTokens>) {
        // A second key would be a fault of the caller; the first one stays.
        let _ = self.tokens.set(tokens);
    }

    /// The table of kinds.
    pub fn kinds(&self) -> &Kinds {
        self.state.kinds()
    }

    /// Serves a kind from now on: see [`State::define`].
    ///
    /// # Errors
    /// [`Taken`]: the row has the names of another.
    pub fn define(&self, row: Kind) -> Result<KindRef, Taken> {
        self.state.define(row)
    }

    /// Serves a kind no more: see [`State::undefine`].
    pub fn undefine(&self, kind: &Kind) -> bool {
        self.state.undefine(kind)
    }

    /// The object as it is now.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.entry(key).map(|entry| entry.object)
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// How many objects of each kind live.
    pub fn counts(&self) -> Vec<(String, usize)> {
        self.state.counts()
    }

    /// The changes after a revision, of one kind or of all, in order; and how far back they reach.
    pub fn changes(&self, kind: Option<&Kind>, since: Revision) -> (Revision, Vec<Arc<Change>>) {
        self.state.changes(kind, since)
    }

    /// The change that led to a revision: see [`State::change_at`].
    pub fn change_at(&self, kind: Option<&Kind>, revision: Revision) -> (Revision, Option<Arc<Change>>) {
        self.state.change_at(kind, revision)
    }

    /// Waits a little for a revision that has not happened yet.
    ///
    /// # Errors
    /// What [`State::reach`] says.
    pub async fn reach(&self, revision: Revision) -> Result<(), Status> {
        self.state.reach(revision).await
    }

    /// The objects of a selection.
    ///
    /// # Errors
    /// What [`State::list`] says.
    pub fn list(&self, selection: &Selection, options: &ListOptions) -> Result<Listing, Status> {
        self.state.list(selection, options)
    }

    /// Follows the changes after a revision that any of the selections names.
    ///
    /// # Errors
    /// What [`State::watch`] says.
    pub fn watch(&self, selections: Vec<Selection>, since: Revision) -> Result<Watcher, Expired> {
        self.state.watch(selections, since)
    }

    /// The clock that stamps objects.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Comes back, with what happened, only if the store has broken for good and the process must end.
    pub async fn broken(&self) -> String {
        self.store.broken().await
    }

    /// Whether other servers may write to the store, too.
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Takes in what other servers have written; says whether there was any.
    pub async fn catch_up(&self) -> bool {
        let known = self.revision();
        self.is_shared()
            && self.health().is_ok()
            && self.store.catch_up().await.is_ok()
            && self.revision() > known
    }

    /// Whether writes are still possible; the text says why not.
    ///
    /// # Errors
    /// The text.
    pub fn health(&self) -> Result<(), String> {
        self.store.health()
    }

    /// Forgets what is older than the bounds of history allow, in memory and on disk.
    pub fn age(&self) {
        self.state.age(self.clock.now());
        self.store.age();
    }

    /// Waits for the writes that are under way and closes the store.
    pub async fn close(&self) {
        self.writes.finish().await;
        self.store.close().await;
    }

    /// The object with its summary.
    pub fn entry(&self, key: &Key) -> Option<Entry> {
        self.state.get(key)
    }
}
