//! The store on sled, with group commit: one thread owns writing, and every writer that came while it was syncing
//! shares the next sync.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use coracle_api::Revision;
use coracle_client::clock::Clock;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::record::{self, BASE, FLOOR, FORMAT, FORMAT_1, LOG};
use super::{Bounds, Change, Committed, Publish, Snapshot, Store, StoreError, Verb};

/// How many writers may wait. At ten thousand writes a second this is well under a second of work.
const QUEUE: usize = 4096;
/// How long a writer waits for a place in the queue.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// The most changes in one batch: keeps one sync, and so everybody's wait, short.
const BATCH: usize = 1024;
/// How far the log may outgrow its bounds before it is compacted, so that compaction works in useful portions.
const SLACK: usize = 1024;
/// Everything that lives is in the registry's memory; sled's own cache serves only the writing of its pages.
const CACHE_BYTES: u64 = 8 << 20;

/// No change has this revision or a lower one: 0 and 1 mean something else to clients ("any", and what people type when
/// they mean "the beginning"), and a watch from there must be told to list first, as on a cluster with a past.
const BEFORE_ALL: Revision = Revision(9);

/// The file beside sled's that says that there was something in them.
const MARKER: &str = "FORMAT";

/// See the module.
pub struct Embedded {
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    failed: Arc<RwLock<Option<String>>>,
}

struct Request {
    change: Change,
    answer: oneshot::Sender<Result<Revision, StoreError>>,
}

/// An opened directory, not yet writing: read it, build a registry, then [`Opened::start`].
pub struct Opened {
    db: sled::Db,
    /// sled syncs with `sync_file_range`, which does not wait for the disk's own cache nor for the file's size; this handle
    /// on its file is for the `fdatasync` that does.
    file: File,
    /// All that is there.
    pub snapshot: Snapshot,
}

impl Embedded {
    /// Opens or makes the store in `path`.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Foreign`] or [`StoreError::Damaged`]; never an empty cluster in their place.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        refuse_foreign(path)?;
        let marker = path.join(MARKER);
        let known = marker.exists();
        let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
        let db = open_sled(path)?;
        let sick = |error: sled::Error| damaged(error.to_string());
        match db.get(FORMAT).map_err(sick)? {
            Some(found) if found == FORMAT_1 => {}
            Some(found) => {
                return Err(StoreError::Foreign {
                    path: path.into(),
                    found: format!("it says {:?}", String::from_utf8_lossy(&found)),
                });
            }
            // sled takes a file that it cannot read for a new one; the marker beside it remembers better.
            None if known => return Err(damaged("the store is empty, but was not before".into())),
            None if db.is_empty() => drop(db.insert(FORMAT, FORMAT_1).map_err(sick)?),
            None => {
                let found = "a sled database without coracle's marker".into();
                return Err(StoreError::Foreign { path: path.into(), found });
            }
        }
        let file = File::open(path.join("db")).map_err(|e| damaged(e.to_string()))?;
        db.flush().map_err(sick)?;
        file.sync_all().map_err(|e| damaged(e.to_string()))?;
        if !known {
            std::fs::write(&marker, FORMAT_1)
                .and_then(|()| File::open(&marker)?.sync_all())
                .and_then(|()| File::open(path)?.sync_all())
                .map_err(|e| damaged(e.to_string()))?;
        }
        let snapshot = read_all(&db).map_err(damaged)?;
        Ok(Opened { db, file, snapshot })
    }
}

/// Opens sled, whose panics over broken files are errors like any other.
fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| open_error(path, &error)),
        Err(_) => Err(StoreError::Damaged { path: path.into(), why: "its files cannot be read".into() }),
    }
}

impl Opened {
    /// Starts the writer. `publish` is called with every batch once it is durable.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        self,
        marks: Marks,
        bounds: Bounds,
        clock: Clock,
        publish: Publish,
    ) -> std::io::Result<Embedded> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let failed = Arc::new(RwLock::new(None));
        let writer = Writer::new(self, marks, bounds, clock, publish, failed.clone());
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || writer.run(receiver))?;
        Ok(Embedded { queue: Mutex::new(Some(sender)), writer: Mutex::new(Some(thread)), failed })
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, change: Change) -> Result<Revision, StoreError> {
        let closed = || StoreError::Disk("the store is closed".into());
        let sender = self.queue.lock().clone().ok_or_else(closed)?;
        let (answer, outcome) = oneshot::channel();
        match sender.try_send(Request { change, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            // A burst waits for its turn; only a disk that has stopped turns writers away.
            Err(mpsc::error::TrySendError::Full(request)) => {
                match tokio::time::timeout(PATIENCE, sender.send(request)).await {
                    Ok(sent) => sent.map_err(|_| closed())?,
                    Err(_) => return Err(StoreError::Busy),
                }
            }
        }
        outcome.await.map_err(|_| closed())?
    }

    fn health(&self) -> Result<(), String> {
        self.failed.read().clone().map_or(Ok(()), Err)
    }

    async fn close(&self) {
        self.queue.lock().take();
        let Some(thread) = self.writer.lock().take() else { return };
        // The thread ends once the queue is empty; a panic in it has already failed its writers.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// What the writer must know of a snapshot: no objects, only their revisions.
pub struct Marks {
    live: HashMap<Vec<u8>, Revision>,
    last: Revision,
    floor: Revision,
    times: VecDeque<Timestamp>,
}

impl Marks {
    /// Read off before the snapshot goes into memory for good.
    pub fn of(snapshot: &Snapshot) -> Marks {
        let mut live: HashMap<Vec<u8>, Revision> =
            snapshot.base.iter().map(|(key, revision, _)| (record::base_key(key), *revision)).collect();
        for change in &snapshot.log {
            note(&mut live, change);
        }
        let last = snapshot.log.last().map_or(snapshot.floor, |c| c.revision);
        let times = snapshot.log.iter().map(|c| c.time).collect();
        Marks { live, last, floor: snapshot.floor, times }
    }
}

/// The state of the thread that owns writing.
struct Writer {
    db: sled::Db,
    file: File,
    bounds: Bounds,
    clock: Clock,
    publish: Publish,
    failed: Arc<RwLock<Option<String>>>,
    /// The revision of everything that lives, by its key on disk.
    live: HashMap<Vec<u8>, Revision>,
    last: Revision,
    floor: Revision,
    /// The time of every change in the log, from the one behind `floor` on.
    times: VecDeque<Timestamp>,
}

impl Writer {
    fn new(
        opened: Opened,
        marks: Marks,
        bounds: Bounds,
        clock: Clock,
        publish: Publish,
        failed: Arc<RwLock<Option<String>>>,
    ) -> Writer {
        let Opened { db, file, .. } = opened;
        let Marks { live, last, floor, times } = marks;
        Writer { db, file, bounds, clock, publish, failed, live, last, floor, times }
    }

    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(BATCH);
        while let Some(first) = queue.blocking_recv() {
            requests.push(first);
            while requests.len() < BATCH {
                let Ok(next) = queue.try_recv() else { break };
                requests.push(next);
            }
            self.write(requests.drain(..));
            if let Err(error) = self.compact() {
                self.fail(&error);
            }
        }
        if let Err(error) = self.sync() {
            self.fail(&error);
        }
    }

    /// One batch: check, number, write, sync, publish, answer.
    fn write(&mut self, requests: impl Iterator<Item = Request>) {
        let mut batch = sled::Batch::default();
        let mut committed = Vec::new();
        let mut waiting = Vec::new();
        for Request { change, answer } in requests {
            if let Some(why) = self.failed.read().clone() {
                let _ = answer.send(Err(StoreError::Disk(why)));
                continue;
            }
            let found = self.live.get(&record::base_key(&change.key)).copied();
            if found != change.expected {
                let conflict = StoreError::Conflict { key: change.key, expected: change.expected, found };
                // A writer that gave up waiting has no use for its answer.
                let _ = answer.send(Err(conflict));
                continue;
            }
            self.last.0 += 1;
            let change = number(change, self.last);
            note(&mut self.live, &change);
            batch.insert(&record::log_key(change.revision), record::encode(&change));
            self.times.push_back(change.time);
            waiting.push((answer, change.revision));
            committed.push(change);
        }
        if committed.is_empty() {
            return;
        }
        let durable = self.db.apply_batch(batch).map_err(|e| e.to_string()).and_then(|()| self.sync());
        if let Err(error) = durable {
            // What sled holds in memory may still reach the disk, so nothing can be promised any more.
            self.fail(&error);
            for (answer, _) in waiting {
                let _ = answer.send(Err(StoreError::Disk(error.clone())));
            }
            return;
        }
        (self.publish)(committed);
        for (answer, revision) in waiting {
            let _ = answer.send(Ok(revision));
        }
    }

    fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|e| e.to_string())?;
        self.file.sync_data().map_err(|e| e.to_string())
    }

    fn fail(&self, error: &str) {
        tracing::error!(error, "the store takes no more writes");
        *self.failed.write() = Some(error.to_string());
    }

    /// Folds the oldest changes into the base once the log is past its bounds. Not synced: until the next batch is,
    /// a crash only means folding again.
    fn compact(&mut self) -> Result<(), String> {
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        let aged = self.times.iter().take_while(|t| t.as_second() < oldest_kept).count();
        let over = self.times.len().saturating_sub(self.bounds.count).max(aged);
        if over < SLACK.min(self.bounds.count.max(1)) {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for _ in 0..over {
            let revision = Revision(self.floor.0 + 1);
            let key = record::log_key(revision);
            let bytes = self
                .db
                .get(key)
                .map_err(|e| e.to_string())?
                .ok_or_else(|| format!("change {revision} is missing from the log"))?;
            let change = record::decode(&bytes)?;
            let place = record::base_key(&change.key);
            match change.verb {
                Verb::Delete => batch.remove(place),
                Verb::Create | Verb::Update => batch.insert(place, bytes),
            }
            batch.remove(&key);
            self.floor = revision;
            self.times.pop_front();
        }
        batch.insert(FLOOR, &self.floor.0.to_be_bytes());
        self.db.apply_batch(batch).map_err(|e| e.to_string())
    }
}

fn number(change: Change, revision: Revision) -> Committed {
    Committed {
        revision,
        time: change.time,
        actor: change.actor,
        causes: change.causes,
        verb: change.verb,
        key: change.key,
        json: change.body.at(revision),
        card: Some(change.card),
    }
}

fn note(live: &mut HashMap<Vec<u8>, Revision>, change: &Committed) {
    let place = record::base_key(&change.key);
    match change.verb {
        Verb::Delete => live.remove(&place),
        Verb::Create | Verb::Update => live.insert(place, change.revision),
    };
}

/// sled makes its files wherever it is pointed at; a folder full of somebody's photographs must not become a cluster.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    let foreign = |found: String| StoreError::Foreign { path: path.into(), found };
    let entries: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|e| e.ok().map(|e| e.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(foreign(error.to_string())),
    };
    let ours = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        matches!(name.as_str(), "db" | "conf" | "blobs" | MARKER) || name.starts_with("snap.")
    };
    match entries.iter().find(|p| !ours(p)) {
        Some(other) => Err(foreign(format!("it holds {}", other.display()))),
        None => Ok(()),
    }
}

fn open_error(path: &Path, error: &sled::Error) -> StoreError {
    let text = error.to_string();
    if text.contains("could not acquire lock") {
        return StoreError::InUse { path: path.into() };
    }
    StoreError::Damaged { path: path.into(), why: text }
}

fn read_all(db: &sled::Db) -> Result<Snapshot, String> {
    let mut snapshot = Snapshot { floor: BEFORE_ALL, ..Snapshot::default() };
    if let Some(floor) = db.get(FLOOR).map_err(|e| e.to_string())? {
        let bytes = floor.as_ref().try_into().map_err(|_| "the floor is no number")?;
        snapshot.floor = Revision(u64::from_be_bytes(bytes));
    }
    for entry in db.scan_prefix([BASE]) {
        let (_, bytes) = entry.map_err(|e| e.to_string())?;
        let change = record::decode(&bytes)?;
        snapshot.base.push((change.key, change.revision, change.json));
    }
    let mut expected = snapshot.floor;
    for entry in db.scan_prefix([LOG]) {
        let (_, bytes) = entry.map_err(|e| e.to_string())?;
        let change = record::decode(&bytes)?;
        expected.0 += 1;
        if change.revision != expected {
            return Err(format!("change {expected} is missing from the log"));
        }
        snapshot.log.push(change);
    }
    Ok(snapshot)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
