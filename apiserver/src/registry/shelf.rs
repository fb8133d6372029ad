//! What lives and what happened, in memory: one shelf a kind, under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use coracle_api::{Key, KindRef, Object, Revision, kinds};
use jiff::Timestamp;
use tokio::sync::watch;

use super::card::{Entry, place, renumbered};
use crate::store::{Bounds, Committed, Loaded, Verb};

/// What a change costs in memory beside objects: found as the growth of a server whose objects are deleted again.
const CHANGE_BYTES: usize = 400;

/// A change, as watches and traces see it.
#[derive(Debug)]
pub struct Change {
    /// Its number.
    pub revision: Revision,
    /// When it was made.
    pub time: Timestamp,
    /// By whom.
    pub actor: String,
    /// The revisions that made the writer act.
    pub causes: Vec<Revision>,
    /// What it did.
    pub verb: Verb,
    /// The object after it; for a delete the last state, with the revision of the delete.
    pub entry: Entry,
    /// The object before it.
    pub before: Option<Entry>,
    /// What a watch sees whose selector the change made the object leave: the old object, at the new revision.
    left: OnceLock<Arc<Object>>,
}

impl Change {
    /// What it holds in memory that nothing else does: an object lives, or was what the next change superseded.
    fn cost(&self) -> usize {
        let gone = if self.verb == Verb::Delete { self.entry.object.json.len() } else { 0 };
        CHANGE_BYTES + gone + self.before.as_ref().map_or(0, |entry| entry.object.json.len())
    }

    /// The old object at the revision of the change, made once for all watches.
    pub fn left(&self) -> Arc<Object> {
        let old = self.before.as_ref().unwrap_or(&self.entry);
        self.left.get_or_init(|| Arc::new(renumbered(&old.object, self.revision))).clone()
    }
}

/// Everything of one kind.
pub struct Shelf {
    /// By `namespace/name`.
    pub objects: BTreeMap<String, Entry>,
    /// What happened, in order, back to the floor.
    pub history: VecDeque<Arc<Change>>,
    /// Rings with each change.
    pub bell: watch::Sender<Revision>,
}

/// Everything.
pub struct State {
    /// The revision of the last change.
    pub revision: Revision,
    /// The revision behind which history is complete.
    pub floor: Revision,
    /// Tells of each new revision to those who wait for one.
    pub progress: watch::Sender<Revision>,
    /// One for each kind.
    pub shelves: HashMap<KindRef, Shelf>,
    /// The kinds of all changes behind the floor, in order: whose turn it is to forget.
    order: VecDeque<KindRef>,
    bytes: usize,
    bounds: Bounds,
}

impl State {
    /// Nothing yet.
    pub fn new(bounds: Bounds) -> State {
        let shelf = || Shelf {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            bell: watch::Sender::new(Revision(0)),
        };
        State {
            revision: Revision(0),
            floor: Revision(0),
            progress: watch::Sender::new(Revision(0)),
            shelves: kinds::all().iter().map(|kind| (*kind, shelf())).collect(),
            order: VecDeque::new(),
            bytes: 0,
            bounds,
        }
    }

    /// Takes what a store holds, in place of whatever was here; history begins where the store's log does.
    pub fn load(&mut self, loaded: Loaded) {
        for shelf in self.shelves.values_mut() {
            shelf.objects.clear();
            shelf.history.clear();
        }
        self.order.clear();
        self.bytes = 0;
        for change in loaded.base {
            let place = place(&change.object.key);
            if let Some(shelf) = self.shelves.get_mut(change.object.key.kind) {
                shelf.objects.insert(place, Entry::new(change.object, change.card));
            }
        }
        (self.revision, self.floor) = (loaded.floor, loaded.floor);
        for change in loaded.log {
            self.apply(change);
        }
        let kinds: Vec<KindRef> = self.shelves.keys().copied().collect();
        self.ring(&kinds);
    }

    /// Plays one change.
    pub fn apply(&mut self, change: Committed) {
        let Committed { object, time, actor, causes, verb, card } = change;
        let (kind, revision, place) = (object.key.kind, object.revision, place(&object.key));
        let entry = Entry::new(object, card);
        self.revision = revision;
        let Some(shelf) = self.shelves.get_mut(kind) else { return };
        let before = match verb {
            Verb::Delete => shelf.objects.remove(&place),
            Verb::Create | Verb::Update => shelf.objects.insert(place, entry.clone()),
        };
        let left = OnceLock::new();
        let change = Change { revision, time, actor, causes, verb, entry, before, left };
        self.bytes += change.cost();
        shelf.history.push_back(Arc::new(change));
        self.order.push_back(kind);
        while self.order.len() > self.bounds.count || self.bytes > self.bounds.memory_bytes {
            self.forget();
        }
    }

    /// Forgets what is older than the bounds allow.
    pub fn age(&mut self, now: Timestamp) {
        let oldest_kept = now.as_second().saturating_sub(self.bounds.age_seconds);
        while let Some(kind) = self.order.front()
            && let Some(oldest) = self.shelves.get(kind).and_then(|shelf| shelf.history.front())
            && oldest.time.as_second() < oldest_kept
        {
            self.forget();
        }
    }

    /// Tells the watches of these kinds that there is something to see.
    pub fn ring(&self, kinds: &[KindRef]) {
        for shelf in kinds.iter().filter_map(|kind| self.shelves.get(kind)) {
            shelf.bell.send_replace(self.revision);
        }
        self.progress.send_replace(self.revision);
    }

    fn forget(&mut self) {
        let Some(shelf) = self.order.pop_front().and_then(|kind| self.shelves.get_mut(kind)) else {
            self.bytes = 0;
            return;
        };
        if let Some(oldest) = shelf.history.pop_front() {
            self.floor = oldest.revision;
            self.bytes = self.bytes.saturating_sub(oldest.cost());
        }
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.shelves.get(key.kind)?.objects.get(&place(key))
    }
}

impl Shelf {
    /// All objects of a namespace, or all, in order, from behind a place on.
    pub fn range<'a>(
        &'a self,
        namespace: Option<&str>,
        behind: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
        let start = match behind {
            Some(place) => Bound::Excluded(place.to_string()),
            None => Bound::Included(prefix.clone()),
        };
        self.objects
            .range::<String, _>((start, Bound::Unbounded))
            .take_while(move |(place, _)| place.starts_with(&prefix))
            .map(|(place, entry)| (place.as_str(), entry))
    }

    /// The changes after a revision.
    pub fn since(&self, revision: Revision) -> impl Iterator<Item = &Arc<Change>> {
        let start = self.history.partition_point(|change| change.revision <= revision);
        self.history.range(start..)
    }

    /// The objects as they were at a revision that history still reaches: the present, with every later change undone.
    pub fn at(&self, revision: Revision) -> BTreeMap<String, Entry> {
        let mut objects = self.objects.clone();
        let start = self.history.partition_point(|change| change.revision <= revision);
        for change in self.history.range(start..).rev() {
            let place = place(&change.entry.object.key);
            match &change.before {
                Some(before) => objects.insert(place, before.clone()),
                None => objects.remove(&place),
            };
        }
        objects
    }
}
