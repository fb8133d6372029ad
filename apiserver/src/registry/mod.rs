//! Every live object in memory, and the one way to change them.
//!
//! ```text
//!  decode -> default -> admit -> prepare -> validate -> commit --store--> shelf -> watches
//!     ^ REST, gRPC and components in the same process come in here, as an Operation
//! ```

pub mod expiry;
pub mod meta;
pub mod operation;
mod token;

mod allocate;
mod binding;
mod bootstrap;
mod create;
mod decode;
mod delete;
mod evict;
mod managed;
mod options;
mod patch;
mod perform;
mod restrict;
mod scale;
mod services;
mod update;

pub use options::decode_options;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use coracle_api::kinds::{Kinds, Taken};
use coracle_api::{Key, Kind, KindRef, Object, Revision, Status};
use coracle_client::clock::Clock;
use parking_lot::Mutex;
use serde_json::Value;

pub use crate::entry::stored;
use crate::entry::{Entry, Summary, encoding};
use crate::large::LargeWork;
use crate::pki::token::AccountTokens;
use crate::state::State;
use crate::state::list::{ListOptions, Listing};
use crate::state::past::Change;
use crate::state::selection::Selection;
use crate::state::watch::{Expired, Watcher};
use crate::store::{self, Batch, Bounds, Expected, Store, StoreError, Verb};
use allocate::Allocations;
use operation::{Answer, Context, Operation, Written};

/// What the names of agents begin with.
const NODE_USER: &str = "system:node:";

/// How often a write whose object changed under it is tried again before the client is told.
const TRIES: usize = 8;

/// See the module.
pub struct Registry {
    state: Arc<State>,
    store: Box<dyn Store>,
    clock: Clock,
    allocations: Mutex<Allocations>,
    /// Signs tokens of service accounts; given once, at the start of a server.
    tokens: OnceLock<Arc<AccountTokens>>,
    /// Whether an agent of this cluster has written: then its nodes are known for what they can do.
    has_agents: AtomicBool,
    writes: perform::Writes,
    large: LargeWork,
}

/// Why a change did not happen.
enum Failure {
    /// Somebody wrote first: read again.
    Conflict,
    /// Anything else.
    Refused(Box<Status>),
}

impl Failure {
    fn refused(status: Status) -> Failure {
        Failure::Refused(Box::new(status))
    }
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
        let state = Arc::new(State::new(bounds));
        store.load(state.clone()).await?;
        let allocations = Mutex::new(held_by_services(&state));
        Ok(Arc::new(Registry {
            state,
            store,
            clock,
            allocations,
            tokens: OnceLock::new(),
            has_agents: AtomicBool::new(false),
            writes: perform::Writes::new(),
            large: LargeWork::default(),
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

    /// One write from its beginning to its end, in the caller's task.
    async fn perform_here(&self, context: &Context, operation: Operation) -> Answer {
        let mut warnings = Vec::new();
        if context.user.user.starts_with(NODE_USER) && !context.user.impersonated {
            self.has_agents.store(true, Ordering::Relaxed);
        }
        let result = self.dispatch(context, operation, &mut warnings).await;
        Answer { result, warnings }
    }

    async fn dispatch(
        &self,
        context: &Context,
        operation: Operation,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        match operation {
            Operation::Create { kind, namespace, sub: None, body } => {
                self.create(context, &kind, &namespace, body, warnings).await
            }
            Operation::Create { kind, namespace, sub: Some((name, sub)), body } => {
                let key = Key::new(kind, namespace, name);
                match sub.as_str() {
                    "binding" => self.bind(context, &key, body, warnings).await,
                    "eviction" => {
                        self.restrict_node(context, "create", &key, &sub, &Value::Null, &Value::Null)?;
                        self.evict(context, &key, body, warnings).await
                    }
                    "token" => self.issue_token(context, &key, body, warnings),
                    _ => Err(Status::not_found(&key.kind, &key.name)),
                }
            }
            Operation::Update { key, sub, body } => {
                self.update(context, &key, sub.as_deref(), body, warnings).await
            }
            Operation::Patch { key, sub, form, body } => {
                self.patch(context, &key, sub.as_deref(), form, body, warnings).await
            }
            Operation::Delete { key, options } => {
                if let Some(old) = self.entry(&key) {
                    self.restrict_node(context, "delete", &key, "", &Value::Null, &old.value())?;
                }
                self.delete(context, &key, &options).await
            }
        }
    }

    /// Texts for `Warning:` headers about an object that is accepted. (new, old if there is one)
    fn warnings(&self, kind: &KindRef, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = (kind.strategy.warnings)(kind, object, old);
        if self.has_agents.load(Ordering::Relaxed) {
            texts.extend(crate::admission::unserved::warnings(kind, object));
        }
        texts
    }

    /// The object with its summary.
    pub fn entry(&self, key: &Key) -> Option<Entry> {
        self.state.get(key)
    }

    /// Makes a change durable. `expected` is the entry that the writer has read. In a dry run nothing is stored, but a
    /// race is noticed all the same.
    async fn commit(
        &self,
        context: &Context,
        key: &Key,
        expected: Option<&Entry>,
        verb: Verb,
        object: &Value,
    ) -> Result<Entry, Failure> {
        if context.dry_run {
            return Ok(unstored(key, object));
        }
        let expected = expected.map(|entry| entry.object.revision).into();
        let change = self.change(context, key, expected, verb, object);
        let mut made = self.commit_batch(Batch::Together(vec![change])).await?;
        let object = made.pop().ok_or_else(nothing_stored)?;
        Ok(Entry::new(object))
    }

    /// A change of one object, as the store takes it.
    fn change(
        &self,
        context: &Context,
        key: &Key,
        expected: Expected,
        verb: Verb,
        object: &Value,
    ) -> store::Change {
        store::Change {
            key: key.clone(),
            expected,
            verb,
            body: encoding::encode(&key.kind, object),
            actor: if context.actor.is_empty() { &context.user.user } else { &context.actor }.clone(),
            causes: context.causes.clone(),
            time: self.clock.now(),
            summary: Summary::of(&key.kind, object),
        }
    }

    /// Makes changes durable, all or none, and answers with the objects once this server shows them.
    async fn commit_batch(&self, batch: Batch) -> Result<Vec<Arc<Object>>, Failure> {
        let outcomes = self.store.commit(batch).await.map_err(|error| match error {
            StoreError::Conflict(_) => Failure::Conflict,
            StoreError::Busy => Failure::refused(busy()),
            full @ StoreError::Full { .. } => Failure::refused(no_room(&full)),
            other => Failure::refused(Status::internal(other)),
        })?;
        let made: Vec<_> = outcomes.into_iter().collect::<Result<_, _>>().map_err(|_| Failure::Conflict)?;
        if let Some(last) = made.iter().map(|object| object.revision).max() {
            self.state.reach(last).await.map_err(Failure::refused)?;
        }
        Ok(made)
    }
}

/// The addresses and ports that are taken when a server starts.
fn held_by_services(state: &State) -> Allocations {
    let mut all = Allocations::default();
    for entry in state.all(&coracle_api::kinds::SERVICE, None) {
        all.adopt(&entry.value());
    }
    all
}

/// A store that answers a batch with too few outcomes.
fn nothing_stored() -> Failure {
    Failure::refused(Status::internal("nothing was stored"))
}

/// An object that is only shown.
fn unstored(key: &Key, object: &Value) -> Entry {
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok());
    let json = encoding::encode_whole(&key.kind, object).into();
    let object = Object { key: key.clone(), revision: Revision(revision.unwrap_or_default()), json };
    Entry::new(Arc::new(object))
}

/// 507: the disk is full. No reason of upstream's says so (etcd's full database comes as a 500 there), and a client is not told
/// to try again soon: somebody has to act first.
fn no_room(error: &StoreError) -> Status {
    let advice = "objects can be read and deleted; other writes go on by themselves once there is room";
    Status::failure(507, "InsufficientStorage", format!("{error}; {advice}"))
}

/// 429: the queue to the disk is full.
fn busy() -> Status {
    use coracle_api::status::Details;
    Status::failure(
        429,
        "TooManyRequests",
        "the server has received too many requests and has asked us to try again later",
    )
    .with_details(Details { retry_after_seconds: 1, ..Details::default() })
}

#[cfg(test)]
mod tests;
