//! Everything that lives and what happened to it lately, in memory: what every read and every watch is served from.
//!
//! ```text
//!  store --publish--> State: a Shelf for each kind --+--> get, list (also of the past)
//!                            objects, changes        +--> watch: a cursor into the changes
//! ```

pub mod list;
pub mod past;
pub mod refusals;
pub mod selection;
pub mod watch;

mod shelf;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::kinds::{Kinds, Taken};
use coracle_api::{Key, Kind, KindRef, Object, Revision, Status};
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch as progress};

use crate::entry::claims::Claims;
use crate::entry::{Entry, ns_name, under};
use crate::store::{Bounds, Committed, Follower, Loaded};
use past::{Change, Feed};
use selection::Selection;
use shelf::{Shelf, Span, Undone};

/// How long a read of a revision that has not happened yet waits for it: as long as upstream waits for its cache.
const BEHIND: Duration = Duration::from_secs(3);

/// All live objects, and what happened to them lately. Shared by all who read; only the store writes to it.
pub struct State {
    inner: RwLock<Inner>,
    /// Tells of each new revision to those who wait for one.
    progress: progress::Sender<Revision>,
    kinds: Kinds,
}

struct Inner {
    /// The revision of the last change.
    revision: Revision,
    shelves: HashMap<KindRef, Shelf>,
    /// Who holds what only one object may hold.
    claims: Claims,
    /// How many changes are held, and what they hold in memory.
    count: usize,
    bytes: usize,
    bounds: Bounds,
}

impl State {
    /// Nothing yet.
    pub fn new(bounds: Bounds) -> State {
        let kinds = Kinds::new();
        let shelves = kinds.kept().into_iter().map(|kind| (kind.clone(), Shelf::new(&kind))).collect();
        State {
            kinds,
            inner: RwLock::new(Inner {
                revision: Revision(0),
                shelves,
                claims: Claims::default(),
                count: 0,
                bytes: 0,
                bounds,
            }),
            progress: progress::Sender::new(Revision(0)),
        }
    }

    /// The table of kinds. Rows come and go by [`State::define`] and [`State::undefine`].
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Serves a kind from now on, or another form of it; objects of it that were kept aside are found again. Who watched it
    /// has to list again.
    ///
    /// # Errors
    /// [`Taken`]
    pub fn define(&self, row: Kind) -> Result<KindRef, Taken> {
        let mut woken = Vec::new();
        let mut inner = self.inner.write();
        let row = self.kinds.add(row)?;
        inner.rehouse(row.clone(), &mut woken);
        let revision = inner.revision;
        drop(inner);
        self.tell(woken, revision);
        Ok(row)
    }

    /// Serves a kind no more; says whether it was defined. Objects of it that are still there are kept aside, unseen.
    pub fn undefine(&self, kind: &Kind) -> bool {
        let mut woken = Vec::new();
        let mut inner = self.inner.write();
        if !self.kinds.remove(kind) {
            return false;
        }
        let unknown = Kind::unknown(kind.group(), kind.version(), kind.plural());
        inner.rehouse(Arc::new(unknown).into(), &mut woken);
        let revision = inner.revision;
        drop(inner);
        self.tell(woken, revision);
        true
    }

    /// One object as it is now.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        self.inner.read().shelves.get(&key.kind)?.get(&ns_name(key)).cloned()
    }

    /// Every object of a kind in a namespace, or in all.
    pub fn all(&self, kind: impl Into<KindRef>, namespace: Option<&str>) -> Vec<Entry> {
        let kind = kind.into();
        let inner = self.inner.read();
        let Some(shelf) = inner.shelves.get(&kind) else { return Vec::new() };
        let span = Span { namespace, behind: None };
        let nothing = Undone::new();
        shelf.entries_in(span, &Selection::all(kind, None), &nothing).cloned().collect()
    }

    /// Looks at who holds what only one object may hold.
    pub fn with_claims<T>(&self, look: impl FnOnce(&Claims) -> T) -> T {
        look(&self.inner.read().claims)
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.inner.read().revision
    }

    /// How many objects of each kind live.
    pub fn counts(&self) -> Vec<(String, usize)> {
        let inner = self.inner.read();
        let count = |(kind, shelf): (&KindRef, &Shelf)| (kind.qualified_resource(), shelf.len());
        let mut counts: Vec<(String, usize)> = inner.shelves.iter().map(count).collect();
        drop(inner);
        counts.sort_unstable();
        counts
    }

    /// The changes after a revision, of one kind or of all, in order; and the revision after which they are complete.
    pub fn changes(&self, kind: Option<&Kind>, since: Revision) -> (Revision, Vec<Arc<Change>>) {
        let inner = self.inner.read();
        let floor = inner.feeds(kind).map(Feed::floor).max().unwrap_or_default();
        let mut changes: Vec<Arc<Change>> =
            inner.feeds(kind).flat_map(|feed| feed.since(since)).cloned().collect();
        drop(inner);
        changes.sort_unstable_by_key(|change| change.revision);
        (floor, changes)
    }

    /// The change that led to a revision, if one of the kind or of any did; and the revision after which changes are complete. Only that
    /// one is looked for: a trace asks for thousands of them.
    pub fn change_at(&self, kind: Option<&Kind>, revision: Revision) -> (Revision, Option<Arc<Change>>) {
        let inner = self.inner.read();
        let floor = inner.feeds(kind).map(Feed::floor).max().unwrap_or_default();
        (floor, inner.feeds(kind).find_map(|feed| feed.at(revision)).cloned())
    }

    /// Waits a little for a revision that has not happened yet: another server may have seen it first.
    ///
    /// # Errors
    /// 504, with upstream's text: it does not come, as after the restore of a backup.
    pub async fn reach(&self, revision: Revision) -> Result<(), Status> {
        // Most often it has happened, and nobody has to wait.
        if self.revision() >= revision {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|shown| *shown >= revision);
        match tokio::time::timeout(BEHIND, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(refusals::too_large(revision, self.revision())),
        }
    }

    /// Forgets what is older than the bounds allow.
    pub fn age(&self, now: Timestamp) {
        let inner = &mut *self.inner.write();
        let oldest_kept = now.as_second().saturating_sub(inner.bounds.age_seconds);
        let Inner { shelves, count, bytes, .. } = inner;
        for shelf in shelves.values_mut() {
            while shelf.oldest().is_some_and(|oldest| oldest.as_second() < oldest_kept) {
                (*count, *bytes) = (*count - 1, *bytes - shelf.forget());
            }
            shelf.sweep();
        }
    }
}

impl Follower for State {
    fn load(&self, loaded: Loaded) {
        let mut inner = self.inner.write();
        let mut woken: Vec<Arc<Notify>> = Vec::new();
        (inner.count, inner.bytes) = (0, 0);
        inner.claims.clear();
        for shelf in inner.shelves.values_mut() {
            shelf.reset(loaded.floor);
        }
        inner.revision = loaded.floor;
        for mut change in loaded.base {
            change.object = inner.housed(change.object);
            inner.note_claims(&change);
            let shelf = inner.shelf(&change.object.key.kind);
            shelf.adopt(Entry::committed(change.object, change.summary, change.time));
        }
        for change in loaded.log {
            inner.apply(change, &mut woken);
        }
        // All who watch have to look, even where nothing was played.
        woken.extend(inner.shelves.values().flat_map(Shelf::followers));
        let revision = inner.revision;
        drop(inner);
        self.tell(woken, revision);
    }

    fn publish(&self, changes: Vec<Committed>) {
        let mut woken = Vec::with_capacity(changes.len());
        let mut inner = self.inner.write();
        for change in changes {
            inner.apply(change, &mut woken);
        }
        let revision = inner.revision;
        drop(inner);
        self.tell(woken, revision);
    }
}

impl State {
    /// Wakes those who wait, each once.
    fn tell(&self, mut woken: Vec<Arc<Notify>>, revision: Revision) {
        woken.sort_unstable_by_key(|news| Arc::as_ptr(news) as usize);
        woken.dedup_by(|one, other| Arc::ptr_eq(one, other));
        for news in woken {
            news.notify_waiters();
        }
        self.progress.send_replace(revision);
    }
}

impl Inner {
    /// The changes of one kind, or of each.
    fn feeds(&self, kind: Option<&Kind>) -> impl Iterator<Item = &Feed> {
        let wanted = move |row: &KindRef| kind.is_none_or(|kind| **row == *kind);
        self.shelves.iter().filter(move |(row, _)| wanted(row)).map(|(_, shelf)| shelf.feed())
    }

    /// The shelf of a kind. One that nobody has defined gets one, too: nothing is lost while its definition is on its way.
    fn shelf(&mut self, kind: &KindRef) -> &mut Shelf {
        if !self.shelves.contains_key(kind) {
            let mut shelf = Shelf::new(kind);
            shelf.reset(self.revision);
            self.shelves.insert(kind.clone(), shelf);
        }
        self.shelves.get_mut(kind).expect("it was put in just above")
    }

    /// The object under the row by which its kind is known here: a store knows names only.
    fn housed(&self, object: Arc<Object>) -> Arc<Object> {
        match self.shelves.get_key_value(&object.key.kind) {
            Some((row, _)) if object.key.kind.is_unknown() => under(row, &object),
            _ => object,
        }
    }

    /// Moves what there is of a kind under another row of the same names. Its history begins here.
    fn rehouse(&mut self, row: KindRef, woken: &mut Vec<Arc<Notify>>) {
        let old = self.shelves.remove(&row);
        let mut shelf = Shelf::new(&row);
        if let Some(old) = old {
            woken.extend(old.followers());
            (self.count, self.bytes) = (self.count - old.feed().len(), self.bytes - old.bytes());
            shelf.reset(self.revision);
            for entry in old.into_entries() {
                shelf.adopt(entry.under(&row));
            }
        }
        if !row.is_unknown() || shelf.len() > 0 {
            self.shelves.insert(row, shelf);
        }
    }

    /// Plays one change.
    fn apply(&mut self, mut change: Committed, woken: &mut Vec<Arc<Notify>>) {
        let revision = change.object.revision;
        change.object = self.housed(change.object);
        self.note_claims(&change);
        let cost = self.shelf(&change.object.key.kind).apply(change, woken);
        self.revision = revision;
        (self.count, self.bytes) = (self.count + 1, self.bytes + cost);
        while self.count > self.bounds.count {
            self.forget(|shelf| shelf.feed().len());
        }
        while self.bytes > self.bounds.memory_bytes {
            self.forget(Shelf::bytes);
        }
    }

    fn note_claims(&mut self, change: &Committed) {
        if change.object.key.kind.claims.is_some() {
            self.claims.set(&change.object.key, change.claims());
        }
    }

    /// Forgets one change: always of the kind that takes the most room, so that a busy kind pays for itself and a watch of a quiet
    /// one can resume from long ago.
    fn forget(&mut self, room: fn(&Shelf) -> usize) {
        // Over a bound there is something to forget.
        let Some(largest) = self.shelves.values_mut().max_by_key(|shelf| room(shelf)) else { return };
        (self.count, self.bytes) = (self.count - 1, self.bytes - largest.forget());
    }
}
