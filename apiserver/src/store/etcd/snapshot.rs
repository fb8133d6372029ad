//! Everything in the store as it was at one of etcd's revisions.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::Revision;
use coracle_client::backoff::Backoff;
use coracle_proto::etcd as pb;

use super::super::ledger::Ledger;
use super::super::{BEFORE_ALL, Bounds, Committed, Loaded, StoreError, record};
use super::access::{Access, Trouble};
use super::layout::{self, FORMAT, Found, Layout};

/// How long one page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is begun again, where etcd was compacted meanwhile or somebody founded the store.
const TRIES: usize = 5;

/// What etcd held at one of its revisions.
pub struct Snapshot {
    /// What a follower is shown.
    pub loaded: Loaded,
    /// The same, for deciding what may be written.
    pub ledger: Ledger,
    /// etcd's revision of the counter.
    pub counter: i64,
    /// etcd's revision at which all this was true.
    pub revision: i64,
    /// The frames of the log.
    pub frames: Frames,
}

/// How much of the log a frame is.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The revision of its last change.
    pub last: Revision,
    /// How many changes it holds.
    pub changes: usize,
    /// Its size.
    pub bytes: u64,
    /// When its last change was made, in seconds.
    pub second: i64,
}

impl Extent {
    /// Of some changes that take so many bytes.
    pub fn of(changes: &[Committed], bytes: usize) -> Extent {
        let last = changes.last();
        Extent {
            last: last.map(|change| change.object.revision).unwrap_or_default(),
            changes: changes.len(),
            bytes: bytes as u64,
            second: last.map_or(i64::MAX, |change| change.time.as_second()),
        }
    }
}

/// The frames of a log, in order, and how much they are together.
#[derive(Debug, Default)]
pub struct Frames {
    extents: VecDeque<Extent>,
    changes: usize,
    bytes: u64,
}

impl Frames {
    /// One more.
    pub fn push(&mut self, extent: Extent) {
        self.extents.push_back(extent);
        (self.changes, self.bytes) = (self.changes + extent.changes, self.bytes + extent.bytes);
    }

    /// Forgets the oldest until the rest is within bounds and no older than some second. Answers the last revision among them.
    pub fn beyond(&mut self, bounds: &Bounds, oldest_kept: i64) -> Option<Revision> {
        let mut goal = None;
        while let Some(oldest) = self.extents.front().copied() {
            let fits = self.changes <= bounds.count && self.bytes <= bounds.disk_bytes;
            if fits && oldest.second >= oldest_kept {
                break;
            }
            self.extents.pop_front();
            (self.changes, self.bytes) = (self.changes - oldest.changes, self.bytes - oldest.bytes);
            goal = Some(oldest.last);
        }
        goal
    }
}

/// Reads the store; makes it where there is nothing.
///
/// # Errors
/// [`StoreError::Open`] if etcd does not answer, [`StoreError::Foreign`] or [`StoreError::Damaged`] for what cannot be read.
pub async fn read(access: &Access, layout: &Layout) -> Result<Snapshot, StoreError> {
    let path = PathBuf::from(format!("{}{}", access.name(), layout.prefix()));
    let open = |trouble: &Trouble| StoreError::Open { path: path.clone(), why: trouble.to_string() };
    let mut last = None;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 0..TRIES {
        match read_once(access, layout, &path).await {
            Ok(Some(snapshot)) => return Ok(snapshot),
            // It was founded just now, by us or by somebody else.
            Ok(None) => {}
            Err(Failure::Trouble(trouble @ (Trouble::Compacted | Trouble::Silent { .. }))) => {
                last = Some(trouble);
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(Failure::Trouble(trouble)) => return Err(open(&trouble)),
            Err(Failure::Store(error)) => return Err(error),
        }
    }
    let last = last.unwrap_or(Trouble::Refused("it was founded and is not there".into()));
    Err(open(&last))
}

enum Failure {
    Trouble(Trouble),
    Store(StoreError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Trouble(trouble)
    }
}

async fn read_once(access: &Access, layout: &Layout, path: &Path) -> Result<Option<Snapshot>, Failure> {
    let keys = [layout.format(), layout.revision(), layout.floor()].map(layout::get).into();
    let heads = access.txn(pb::TxnRequest { success: keys, ..Default::default() }, PAGE_WITHIN).await?;
    let revision = heads.header.as_ref().map_or(0, |header| header.revision);
    let [format, counter, floor] = [0, 1, 2].map(|step| layout::found(&heads, step).0.first());
    if format.is_none() && counter.is_none() && floor.is_none() {
        access.txn(layout.found(BEFORE_ALL), PAGE_WITHIN).await?;
        return Ok(None);
    }
    let format = format.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).unwrap_or_default();
    if format != FORMAT {
        let found = format!("its format is {format:?}");
        return Err(Failure::Store(StoreError::Foreign { path: path.into(), found }));
    }
    let damaged = |why: String| Failure::Store(StoreError::damaged(path, why));
    let (Some(last), Some(floor)) = (layout::number(counter), layout::number(floor)) else {
        return Err(damaged("its counter or its floor is missing".into()));
    };
    let counter = counter.map_or(0, |kv| kv.mod_revision);
    let (mut ledger, mut loaded) = (Ledger::empty(floor), Loaded { floor, ..Loaded::default() });
    pages(access, layout.whole_base(), revision, |kv| {
        let (change, _) = record::decode(&kv.value)?;
        ledger.apply(&change);
        loaded.base.push(change);
        Ok(())
    })
    .await?
    .map_err(&damaged)?;
    // What lives in the base may be older than the floor, but the next change is after it.
    ledger.reach(floor);
    let mut frames = Frames::default();
    pages(access, layout.frames_from(Revision(0)), revision, |kv| {
        let Found { first, changes, .. } = layout::read(&kv.value)?;
        if first.0 != ledger.last().0 + 1 {
            return Err(format!("its log goes from revision {} to {}", ledger.last(), first));
        }
        frames.push(Extent::of(&changes, kv.value.len()));
        changes.iter().for_each(|change| ledger.apply(change));
        loaded.log.extend(changes);
        Ok(())
    })
    .await?
    .map_err(&damaged)?;
    if ledger.last() != last {
        return Err(damaged(format!(
            "its log ends at revision {}, and its counter says {last}",
            ledger.last()
        )));
    }
    Ok(Some(Snapshot { loaded, ledger, counter, revision, frames }))
}

/// Looks at every key of a span as it was at a revision, a page at a time.
async fn pages(
    access: &Access,
    (mut key, range_end): (Bytes, Bytes),
    revision: i64,
    mut look: impl FnMut(&pb::KeyValue) -> Result<(), String>,
) -> Result<Result<(), String>, Trouble> {
    loop {
        let range_end = range_end.clone();
        let request = pb::RangeRequest { key, range_end, limit: layout::PAGE * 4, revision };
        let page = access.range(request, PAGE_WITHIN).await?;
        for kv in &page.kvs {
            if let Err(why) = look(kv) {
                return Ok(Err(why));
            }
        }
        match page.kvs.last().filter(|_| page.more) {
            // The next key there can be.
            Some(last) => key = [&last.key[..], &[0]].concat().into(),
            None => return Ok(Ok(())),
        }
    }
}
