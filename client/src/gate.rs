//! The gate between plan and apply. Open, it lets every write pass; closed, it holds the plan and shows it.
//!
//! No command closes it yet: only `controllers/tests/gate.rs` does. A step mode, in which people let plans through one by
//! one, is to be built on it. A server-side dry run (`--dry-run=server`) has nothing to do with it: the registry does that
//! (`Context::dry_run` in the API server).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Key;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Error;
use crate::controller::Action;

/// One gate for all controllers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Counts the changes after which a held plan may pass.
    opened: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Plans that may pass although the gate is closed.
    permits: usize,
    held: BTreeMap<(String, Key), Vec<Action>>,
    /// Keys whose plans were held when the gate opened, until their controllers fetch them.
    released: BTreeSet<(String, Key)>,
}

/// What a controller would do if the gate were open.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Whose plan.
    pub controller: String,
    /// The key that it looked at.
    pub key: Key,
    /// What it would do, in order.
    pub actions: Vec<Action>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::open()
    }
}

impl Gate {
    /// A gate that lets everything pass.
    pub fn open() -> Gate {
        Gate(Arc::new(Shared { state: Mutex::default(), opened: watch::channel(0).0 }))
    }

    /// A gate that holds everything.
    pub fn closed() -> Gate {
        let gate = Gate::open();
        gate.close();
        gate
    }

    /// From now on plans are held.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
    }

    /// From now on plans pass. Held ones are made anew, from the state as it is then.
    pub fn reopen(&self) {
        let mut state = self.0.state.lock();
        state.closed = false;
        state.permits = 0;
        let held = std::mem::take(&mut state.held);
        state.released.extend(held.into_keys());
        drop(state);
        self.0.opened.send_modify(|count| *count += 1);
    }

    /// Lets the next `plans` plans pass, made anew, and stays closed.
    pub fn step(&self, plans: usize) {
        self.0.state.lock().permits += plans;
        self.0.opened.send_modify(|count| *count += 1);
    }

    /// Whether plans are held.
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().closed
    }

    /// The plans on hold, by controller and key.
    pub fn held(&self) -> Vec<Held> {
        let state = self.0.state.lock();
        let plan = |((controller, key), actions): (&(String, Key), &Vec<Action>)| Held {
            controller: controller.clone(),
            key: key.clone(),
            actions: actions.clone(),
        };
        state.held.iter().map(plan).collect()
    }

    /// Lets a plan pass, or holds it.
    ///
    /// # Errors
    /// [`Error::Held`].
    pub fn pass(&self, controller: &str, key: &Key, actions: &[Action]) -> Result<(), Error> {
        let mut state = self.0.state.lock();
        let slot = (controller.to_owned(), key.clone());
        if state.closed && state.permits == 0 {
            state.held.insert(slot, actions.to_vec());
            return Err(Error::Held);
        }
        state.permits = state.permits.saturating_sub(1);
        state.held.remove(&slot);
        Ok(())
    }

    /// Forgets what was held for a key whose plan has become empty.
    pub fn withdraw(&self, controller: &str, key: &Key) {
        let mut state = self.0.state.lock();
        if !state.held.is_empty() {
            state.held.remove(&(controller.to_owned(), key.clone()));
        }
    }

    /// The keys of a controller that may try again: those on hold, and those that were.
    pub(crate) fn retry(&self, controller: &str) -> Vec<Key> {
        let mut state = self.0.state.lock();
        let (mine, others) =
            std::mem::take(&mut state.released).into_iter().partition(|(c, _)| c == controller);
        state.released = others;
        let mine: BTreeSet<(String, Key)> = mine;
        let held = state.held.keys().filter(|(c, _)| c == controller).map(|(_, key)| key.clone());
        mine.into_iter().map(|(_, key)| key).chain(held).collect()
    }

    /// Changes whenever held plans may try again.
    pub(crate) fn opened(&self) -> watch::Receiver<u64> {
        self.0.opened.subscribe()
    }
}
