//! Watches: cursors into the history that every watcher shares.
//!
//! There is no buffer per watcher that could grow: who falls behind the floor of the history is told so and lists again.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Object, Revision};
use futures::future::select_all;
use tokio::sync::Notify;

use super::State;
use super::past::Change;
use super::selection::Selection;
use crate::entry::Entry;
use crate::store::Verb;

/// The most changes that one look takes, so that nobody holds the lock for long.
const LOOK: usize = 1000;

/// One step of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object came to be, or came into the selection.
    Added(Entry),
    /// It changed.
    Modified(Entry),
    /// It is gone, or left the selection: its last state inside, with the revision of the change.
    Deleted(Entry),
}

impl Event {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub fn word(&self) -> &'static str {
        match self {
            Event::Added(_) => Verb::Create.event(),
            Event::Modified(_) => Verb::Update.event(),
            Event::Deleted(_) => Verb::Delete.event(),
        }
    }

    /// The object.
    pub fn object(&self) -> &Arc<Object> {
        &self.entry().object
    }

    /// The line that says all this, if it was made beforehand: the same bytes for every watch.
    pub fn line(&self) -> Option<&Bytes> {
        self.entry().line(self.word())
    }

    /// Whether the object is gone, or no longer selected.
    pub fn is_end(&self) -> bool {
        matches!(self, Event::Deleted(_))
    }

    /// The object with what is known of it.
    pub fn entry(&self) -> &Entry {
        let (Event::Added(entry) | Event::Modified(entry) | Event::Deleted(entry)) = self;
        entry
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
    state: Arc<State>,
    selections: Vec<Selection>,
    /// Tells of changes, perhaps of more than are selected.
    news: Vec<Arc<Notify>>,
    seen: Revision,
}

impl State {
    /// Follows the changes after `since` that any of the selections names. From a revision that has not happened yet nothing
    /// comes until it has: see [`State::reach`].
    ///
    /// # Errors
    /// [`Expired`], at once or later from [`Watcher::next`].
    pub fn watch(self: &Arc<Self>, selections: Vec<Selection>, since: Revision) -> Result<Watcher, Expired> {
        let mut inner = self.inner.write();
        let mut news = Vec::with_capacity(selections.len());
        for selection in &selections {
            let gone = Expired { since, floor: inner.revision };
            let feed = inner.shelves.get_mut(&selection.kind).ok_or(gone)?.follow(selection);
            if since < feed.floor() {
                return Err(Expired { since, floor: feed.floor() });
            }
            news.push(feed.news().clone());
        }
        drop(inner);
        Ok(Watcher { state: self.clone(), selections, news, seen: since })
    }
}

impl Watcher {
    /// The next events, in order of revision: at least one, waited for if need be. Safe to drop while it waits.
    ///
    /// # Errors
    /// [`Expired`] if the watcher was too slow.
    pub async fn next(&mut self) -> Result<Vec<Event>, Expired> {
        loop {
            let news = self.news.clone();
            let mut waits: Vec<_> = news.iter().map(|news| Box::pin(news.notified())).collect();
            for wait in &mut waits {
                // It counts from before the look: a change that comes after the look ends the wait.
                wait.as_mut().enable();
            }
            let events = self.look()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if waits.is_empty() {
                std::future::pending::<()>().await;
            }
            select_all(waits).await;
        }
    }

    /// Up to where everything has been shown.
    pub fn seen(&self) -> Revision {
        self.seen
    }

    fn look(&mut self) -> Result<Vec<Event>, Expired> {
        let inner = self.state.inner.read();
        let mut changes: Vec<(usize, Arc<Change>)> = Vec::new();
        let mut end = inner.revision.max(self.seen);
        for (index, selection) in self.selections.iter().enumerate() {
            let gone = Expired { since: self.seen, floor: inner.revision };
            // A kind that is not there any more, or has another row, cannot be followed further.
            let found = inner.shelves.get_key_value(&selection.kind);
            let (_, shelf) = found.filter(|(row, _)| row.same_place(&selection.kind)).ok_or(gone)?;
            let feed = shelf.feed_of(selection);
            if self.seen < feed.floor() {
                return Err(Expired { since: self.seen, floor: feed.floor() });
            }
            for (count, change) in feed.since(self.seen).enumerate() {
                if count == LOOK {
                    // Stop all kinds where this one stops, so that no revision is passed over.
                    end = end.min(Revision(change.revision.0 - 1));
                    break;
                }
                changes.push((index, change.clone()));
            }
        }
        drop(inner);
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
        (false, true) => Some(Event::Added(change.entry.clone())),
        (true, true) => Some(Event::Modified(change.entry.clone())),
        (true, false) if change.verb == Verb::Delete => Some(Event::Deleted(change.entry.clone())),
        (true, false) => Some(Event::Deleted(change.left().clone())),
    }
}
