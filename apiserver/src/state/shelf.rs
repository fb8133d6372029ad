//! The objects of one kind and their latest changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use coracle_api::{Kind, Revision};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::past::{Change, Feed};
use super::selection::Selection;
use crate::entry::{Entry, ns_name};
use crate::store::{Committed, Verb};

/// Fields by whose value objects are found and watched: every node follows its own pods, and must not be woken for those of
/// the others. A kind is indexed by those that its row names as selectable.
const INDEXED: [&str; 1] = ["spec.nodeName"];

/// Everything of one kind.
pub struct Shelf {
    objects: BTreeMap<String, Entry>,
    feed: Feed,
    /// What its changes hold in memory.
    bytes: usize,
    indexes: Vec<Index>,
}

/// The objects by the value of one field.
struct Index {
    field: &'static str,
    groups: HashMap<String, Group>,
}

/// The objects whose field has one value: where they stand, and what happened to those that have it or had it.
struct Group {
    names: BTreeSet<String>,
    feed: Feed,
}

/// For each key that changed after an earlier revision: its entry at that revision, `None` if it did not exist then.
pub type Undone<'a> = BTreeMap<String, Option<&'a Entry>>;

/// Which namespaces and names a list looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span<'a> {
    /// One namespace; `None` for all.
    pub namespace: Option<&'a str>,
    /// Only what stands after this namespace and name.
    pub behind: Option<&'a str>,
}

impl Shelf {
    /// An empty one.
    pub fn new(kind: &Kind) -> Shelf {
        let indexed = INDEXED.into_iter().filter(|field| kind.selectable.iter().any(|s| s.field == *field));
        Shelf {
            objects: BTreeMap::new(),
            feed: Feed::new(Revision(0)),
            bytes: 0,
            indexes: indexed.map(|field| Index { field, groups: HashMap::new() }).collect(),
        }
    }

    /// Everything that lives.
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.objects.into_values()
    }

    /// Begins again: nothing lives, and nothing is known of what was before a revision.
    pub fn reset(&mut self, floor: Revision) {
        self.objects.clear();
        self.bytes = 0;
        self.feed.reset(floor);
        for group in self.indexes.iter_mut().flat_map(|index| index.groups.values_mut()) {
            group.names.clear();
            group.feed.reset(floor);
        }
    }

    /// Takes an object in that was there before history begins.
    pub fn adopt(&mut self, entry: Entry) {
        let ns_name = ns_name(&entry.object.key);
        self.index(&ns_name, None, Some(&entry));
        self.objects.insert(ns_name, entry);
    }

    /// Plays one change; says what it holds in memory.
    pub fn apply(&mut self, change: Committed, woken: &mut Vec<Arc<Notify>>) -> usize {
        let Committed { object, time, actor, causes, verb, summary, line } = change;
        let (revision, ns_name) = (object.revision, ns_name(&object.key));
        let entry = Entry::committed(object, summary, time).with_line(verb.event(), line);
        let before = match verb {
            Verb::Delete => self.objects.remove(&ns_name),
            Verb::Create | Verb::Update => self.objects.insert(ns_name.clone(), entry.clone()),
        };
        self.index(&ns_name, before.as_ref(), (verb != Verb::Delete).then_some(&entry));
        let left = OnceLock::new();
        let change = Arc::new(Change { revision, time, actor, causes, verb, entry, before, left });
        let cost = change.cost();
        self.bytes += cost;
        let floor = self.feed.floor();
        for index in &mut self.indexes {
            for value in values(index.field, &change) {
                index.group(value, floor).feed.push(change.clone(), woken);
            }
        }
        self.feed.push(change, woken);
        cost
    }

    /// Keeps the indexes in step with an object that changes.
    fn index(&mut self, ns_name: &str, before: Option<&Entry>, after: Option<&Entry>) {
        let floor = self.feed.floor();
        for index in &mut self.indexes {
            let (old, new) = (before.map(|e| e.field(index.field)), after.map(|e| e.field(index.field)));
            if old == new {
                continue;
            }
            if let Some(group) = old.and_then(|value| index.groups.get_mut(value)) {
                group.names.remove(ns_name);
            }
            if let Some(value) = new {
                index.group(value, floor).names.insert(ns_name.to_owned());
            }
        }
    }

    /// Forgets the oldest change; says what it held in memory.
    pub fn forget(&mut self) -> usize {
        let Some(oldest) = self.feed.forget() else { return 0 };
        let cost = oldest.cost();
        self.bytes -= cost;
        for index in &mut self.indexes {
            for value in values(index.field, &oldest) {
                if let Some(group) = index.groups.get_mut(value) {
                    group.feed.forget_at(oldest.revision);
                }
            }
        }
        cost
    }

    /// Drops the groups that hold nothing and that nobody follows.
    pub fn sweep(&mut self) {
        for index in &mut self.indexes {
            index.groups.retain(|_, group| {
                !group.names.is_empty() || !group.feed.is_empty() || group.feed.is_followed()
            });
        }
    }

    /// One object.
    pub fn get(&self, ns_name: &str) -> Option<&Entry> {
        self.objects.get(ns_name)
    }

    /// How many live.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Those who follow any of it.
    pub fn followers(&self) -> impl Iterator<Item = Arc<Notify>> {
        let groups = self.indexes.iter().flat_map(|index| index.groups.values());
        iter::once(&self.feed).chain(groups.map(|group| &group.feed)).map(|feed| feed.news().clone())
    }

    /// The changes of the whole kind.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What its changes hold in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest change was made that is kept.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.feed.oldest().map(|change| change.time)
    }

    /// The narrowest feed that holds every change of a selection.
    pub fn feed_of(&self, selection: &Selection) -> &Feed {
        self.group_of(selection).map_or(&self.feed, |group| &group.feed)
    }

    /// The same for somebody who is going to follow it: made if no object is in it yet.
    pub fn follow(&mut self, selection: &Selection) -> &Feed {
        let floor = self.feed.floor();
        for index in &mut self.indexes {
            if let Some(value) = selection.fields.requires(index.field) {
                return &index.group(value, floor).feed;
            }
        }
        &self.feed
    }

    fn group_of(&self, selection: &Selection) -> Option<&Group> {
        self.indexes.iter().find_map(|index| index.groups.get(selection.fields.requires(index.field)?))
    }

    /// What was otherwise at a revision that history still reaches: every later change, undone.
    pub fn undone(&self, revision: Revision) -> Undone<'_> {
        let mut undone = Undone::new();
        for change in self.feed.since(revision) {
            // The first change after the revision is the one that knows how it was then.
            undone.entry(ns_name(&change.entry.object.key)).or_insert(change.before.as_ref());
        }
        undone
    }

    /// The objects in a span, in order, as they are but for what is undone. With a selection that an index serves these
    /// are fewer, but never too few.
    pub fn entries_in<'a>(
        &'a self,
        span: Span<'_>,
        selection: &Selection,
        undone: &'a Undone<'a>,
    ) -> impl Iterator<Item = &'a Entry> {
        let prefix = span.namespace.map(|n| format!("{n}/")).unwrap_or_default();
        let start = match span.behind {
            Some(ns_name) => Bound::Excluded(ns_name.to_owned()),
            None => Bound::Included(prefix.clone()),
        };
        let bounds = (start, Bound::Unbounded);
        let within = {
            let prefix = prefix.clone();
            move |ns_name: &str| ns_name.starts_with(&prefix)
        };
        let present: Box<dyn Iterator<Item = (&String, &Entry)>> = match self.group_of(selection) {
            Some(group) => {
                let names = group.names.range::<String, _>(bounds.clone());
                Box::new(names.filter_map(|ns_name| self.objects.get_key_value(ns_name)))
            }
            None => Box::new(self.objects.range::<String, _>(bounds.clone())),
        };
        let inside = within.clone();
        let mut present = present
            .take_while(move |(ns_name, _)| inside(ns_name))
            .filter(|(ns_name, _)| !undone.contains_key(*ns_name))
            .peekable();
        let mut past = undone
            .range::<String, _>(bounds)
            .take_while(move |(ns_name, _)| within(ns_name))
            .filter_map(|(ns_name, entry)| Some((ns_name, (*entry)?)))
            .peekable();
        iter::from_fn(move || {
            let next = match (present.peek(), past.peek()) {
                (Some((now, _)), Some((then, _))) if then < now => past.next(),
                (None, Some(_)) => past.next(),
                _ => present.next(),
            };
            next.map(|(_, entry)| entry)
        })
    }
}

impl Index {
    fn group(&mut self, value: &str, floor: Revision) -> &mut Group {
        if !self.groups.contains_key(value) {
            let group = Group { names: BTreeSet::new(), feed: Feed::new(floor) };
            self.groups.insert(value.to_owned(), group);
        }
        self.groups.get_mut(value).expect("it was put in just above")
    }
}

/// The values that a field has after a change and had before it.
fn values<'a>(field: &str, change: &'a Change) -> impl Iterator<Item = &'a str> + use<'a> {
    let new = change.entry.field(field);
    let old = change.before.as_ref().map(|entry| entry.field(field)).filter(|old| *old != new);
    iter::once(new).chain(old)
}
