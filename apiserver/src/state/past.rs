//! What happened lately: changes in order, and who waits for more of them.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use coracle_api::Revision;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::entry::Entry;
use crate::entry::encoding::renumbered;
use crate::store::Verb;

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
    pub(super) left: OnceLock<Entry>,
}

impl Change {
    /// What it holds in memory that nothing else does: an object lives, or was what the next change superseded.
    pub fn cost(&self) -> usize {
        let gone = if self.verb == Verb::Delete { self.entry.object.json.len() } else { 0 };
        CHANGE_BYTES + gone + self.before.as_ref().map_or(0, |entry| entry.object.json.len())
    }

    /// The old object at the revision of the change, made once for all watches.
    pub fn left(&self) -> &Entry {
        self.left.get_or_init(|| {
            let old = self.before.as_ref().unwrap_or(&self.entry);
            let event = Verb::Delete.event();
            let (object, line) = renumbered(event, &old.object, self.revision);
            Entry::committed(Arc::new(object), None, self.time).with_line(event, Some(line))
        })
    }
}

/// The latest changes of some objects: of all of a kind, or of those whose indexed field has one value. Each feed forgets for
/// itself, so that where little happens a watch can resume from long ago, however much happens elsewhere.
#[derive(Debug)]
pub struct Feed {
    changes: VecDeque<Arc<Change>>,
    floor: Revision,
    news: Arc<Notify>,
}

impl Feed {
    /// Nothing yet; complete after a revision.
    pub fn new(floor: Revision) -> Feed {
        Feed { changes: VecDeque::new(), floor, news: Arc::default() }
    }

    /// The revision after which it is complete.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Tells those who wait for more.
    pub fn news(&self) -> &Arc<Notify> {
        &self.news
    }

    /// Whether anybody follows it.
    pub fn is_followed(&self) -> bool {
        Arc::strong_count(&self.news) > 1
    }

    /// The changes after a revision.
    pub fn since(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }

    /// The change that led to a revision.
    pub fn at(&self, revision: Revision) -> Option<&Arc<Change>> {
        let at = self.changes.binary_search_by_key(&revision, |change| change.revision).ok()?;
        self.changes.get(at)
    }

    /// The oldest that it holds.
    pub fn oldest(&self) -> Option<&Arc<Change>> {
        self.changes.front()
    }

    /// Takes the next change. Whoever follows is woken later, when the batch is complete and the lock is free.
    pub fn push(&mut self, change: Arc<Change>, woken: &mut Vec<Arc<Notify>>) {
        self.changes.push_back(change);
        woken.push(self.news.clone());
    }

    /// Forgets its oldest change.
    pub fn forget(&mut self) -> Option<Arc<Change>> {
        let oldest = self.changes.pop_front()?;
        self.floor = oldest.revision;
        Some(oldest)
    }

    /// Forgets its oldest change if it is the one of this revision.
    pub fn forget_at(&mut self, revision: Revision) {
        if self.oldest().is_some_and(|oldest| oldest.revision == revision) {
            self.forget();
        }
    }

    /// Begins again. Whoever follows is behind the floor, and will find out.
    pub fn reset(&mut self, floor: Revision) {
        self.changes.clear();
        self.floor = floor;
    }
}
