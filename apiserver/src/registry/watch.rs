//! Watches: cursors into the history that every watcher shares.
//!
//! There is no buffer per watcher that could grow: who falls behind the floor of the history is told so and lists again.

use std::sync::Arc;

use coracle_api::{Object, Revision};
use futures::future::select_all;
use tokio::sync::watch;

use super::Registry;
use super::selection::Selection;
use super::shelf::Change;
use crate::store::Verb;

/// The most changes that one look takes, so that nobody holds the lock for long.
const LOOK: usize = 1000;

/// One step of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object came to be, or came into the selection.
    Added(Arc<Object>),
    /// It changed.
    Modified(Arc<Object>),
    /// It is gone, or left the selection: its last state inside, with the revision of the change.
    Deleted(Arc<Object>),
}

impl Event {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub fn word(&self) -> &'static str {
        match self {
            Event::Added(_) => "ADDED",
            Event::Modified(_) => "MODIFIED",
            Event::Deleted(_) => "DELETED",
        }
    }

    /// The object.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => object,
        }
    }
}

/// The history no longer reaches back to where the watch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Where the watch stood.
    pub since: Revision,
    /// How far back history reaches.
    pub floor: Revision,
}

/// A watch of one or several kinds.
pub struct Watcher {
    registry: Arc<Registry>,
    selections: Vec<Selection>,
    bells: Vec<watch::Receiver<Revision>>,
    seen: Revision,
}

impl Registry {
    /// Follows the changes after `since` that any of the selections names. A revision from the future is waited for.
    ///
    /// # Errors
    /// [`Expired`], at once or later from [`Watcher::next`].
    pub fn watch(self: &Arc<Self>, selections: Vec<Selection>, since: Revision) -> Result<Watcher, Expired> {
        let state = self.state.read();
        if since < state.floor {
            return Err(Expired { since, floor: state.floor });
        }
        let bell = |s: &Selection| state.shelves.get(s.kind).map(|shelf| shelf.bell.subscribe());
        let bells = selections.iter().filter_map(bell).collect();
        drop(state);
        Ok(Watcher { registry: self.clone(), selections, bells, seen: since })
    }
}

impl Watcher {
    /// The next events, in order of revision: at least one, waited for if need be. Safe to drop while it waits.
    ///
    /// # Errors
    /// [`Expired`] if the watcher was too slow.
    pub async fn next(&mut self) -> Result<Vec<Event>, Expired> {
        loop {
            for bell in &mut self.bells {
                // Marked before the look: a change that comes after the look rings again.
                bell.mark_unchanged();
            }
            let events = self.look()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.bells.is_empty() {
                std::future::pending::<()>().await;
            }
            let rings = self.bells.iter_mut().map(|bell| Box::pin(bell.changed()));
            let _ = select_all(rings).await;
        }
    }

    /// Up to where everything has been shown.
    pub fn seen(&self) -> Revision {
        self.seen
    }

    fn look(&mut self) -> Result<Vec<Event>, Expired> {
        let state = self.registry.state.read();
        if self.seen < state.floor {
            return Err(Expired { since: self.seen, floor: state.floor });
        }
        let mut changes: Vec<(usize, Arc<Change>)> = Vec::new();
        let mut end = state.revision.max(self.seen);
        for (index, selection) in self.selections.iter().enumerate() {
            let Some(shelf) = state.shelves.get(selection.kind) else { continue };
            for (count, change) in shelf.since(self.seen).enumerate() {
                if count == LOOK {
                    // Stop all kinds where this one stops, so that no revision is passed over.
                    end = end.min(Revision(change.revision.0 - 1));
                    break;
                }
                changes.push((index, change.clone()));
            }
        }
        drop(state);
        changes.retain(|(_, change)| change.revision <= end);
        changes.sort_by_key(|(_, change)| change.revision);
        self.seen = end;
        Ok(changes.iter().filter_map(|(index, change)| event(&self.selections[*index], change)).collect())
    }
}

/// What a change is to a watch with this selection.
fn event(selection: &Selection, change: &Change) -> Option<Event> {
    let was = change.before.as_ref().is_some_and(|entry| selection.matches(entry));
    let is = change.verb != Verb::Delete && selection.matches(&change.entry);
    match (was, is) {
        (false, false) => None,
        (false, true) => Some(Event::Added(change.entry.object.clone())),
        (true, true) => Some(Event::Modified(change.entry.object.clone())),
        (true, false) if change.verb == Verb::Delete => Some(Event::Deleted(change.entry.object.clone())),
        (true, false) => Some(Event::Deleted(change.left())),
    }
}
