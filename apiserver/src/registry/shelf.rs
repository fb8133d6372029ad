//! What lives and what happened, in memory: one shelf a kind, under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use coracle_api::{Key, KindRef, Object, Revision, kinds};
use jiff::Timestamp;
use tokio::sync::watch;

use super::card::{Card, Entry, place, renumbered};
use crate::store::{Bounds, Committed, Snapshot, Verb};

/// The most bytes of superseded and deleted objects that are kept for watches to resume from.
const HISTORY_BYTES: usize = 24 << 20;

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
    /// One for each kind.
    pub shelves: HashMap<KindRef, Shelf>,
    /// The kinds of all changes behind the floor, in order: whose turn it is to forget.
    order: VecDeque<KindRef>,
    bytes: usize,
    bounds: Bounds,
}

impl State {
    /// The state that a store's snapshot leads to.
    pub fn new(snapshot: Snapshot, bounds: Bounds) -> State {
        let shelf = || Shelf {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            bell: watch::Sender::new(Revision(0)),
        };
        let mut state = State {
            revision: snapshot.floor,
            floor: snapshot.floor,
            shelves: kinds::all().iter().map(|kind| (*kind, shelf())).collect(),
            order: VecDeque::new(),
            bytes: 0,
            bounds,
        };
        for (key, revision, json) in snapshot.base {
            let object = Object { key, revision, json };
            let card = Arc::new(Card::of(object.key.kind, &object.value().unwrap_or_default()));
            let Some(shelf) = state.shelves.get_mut(object.key.kind) else { continue };
            shelf.objects.insert(place(&object.key), Entry { object: Arc::new(object), card });
        }
        for change in snapshot.log {
            state.apply(change);
        }
        state
    }

    /// Plays one change.
    pub fn apply(&mut self, change: Committed) {
        let Committed { revision, time, actor, causes, verb, key, json, card } = change;
        let (kind, place) = (key.kind, place(&key));
        let object = Arc::new(Object { key, revision, json });
        let card = card.unwrap_or_else(|| Arc::new(Card::of(kind, &object.value().unwrap_or_default())));
        let entry = Entry { object, card };
        self.revision = revision;
        let Some(shelf) = self.shelves.get_mut(kind) else { return };
        let before = match verb {
            Verb::Delete => shelf.objects.remove(&place),
            Verb::Create | Verb::Update => shelf.objects.insert(place, entry.clone()),
        };
        self.bytes += before.as_ref().map_or(0, |e| e.object.json.len());
        let left = OnceLock::new();
        shelf.history.push_back(Arc::new(Change {
            revision,
            time,
            actor,
            causes,
            verb,
            entry,
            before,
            left,
        }));
        self.order.push_back(kind);
        while self.order.len() > self.bounds.count || self.bytes > HISTORY_BYTES {
            self.forget();
        }
    }

    /// Tells the watches of these kinds that there is something to see.
    pub fn ring(&self, kinds: &[KindRef]) {
        for shelf in kinds.iter().filter_map(|kind| self.shelves.get(kind)) {
            shelf.bell.send_replace(self.revision);
        }
    }

    fn forget(&mut self) {
        let Some(shelf) = self.order.pop_front().and_then(|kind| self.shelves.get_mut(kind)) else {
            self.bytes = 0;
            return;
        };
        if let Some(oldest) = shelf.history.pop_front() {
            self.floor = oldest.revision;
            let bytes = oldest.before.as_ref().map_or(0, |e| e.object.json.len());
            self.bytes = self.bytes.saturating_sub(bytes);
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
