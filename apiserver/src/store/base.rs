//! The base on disk: the world as it was at some revision, in sled, off the path of writers.
//!
//! ```text
//!  full files of the log --oldest first, once past the bounds--> fold: sled batches, synced --> the file goes
//! ```

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use coracle_api::Revision;
use coracle_client::clock::Clock;

use super::log::{self, Sealed};
use super::{BEFORE_ALL, Bounds, Committed, StoreError, Verb, record};

/// The key of the format marker.
const FORMAT: &[u8] = b"mformat";
/// What the marker says. A later format reads this one or refuses it by name.
const FORMAT_2: &[u8] = b"coracle store 2";
/// The key of the revision up to which everything is folded into the base.
const FLOOR: &[u8] = b"mfloor";
/// What the keys of objects begin with.
const OBJECTS: &[u8] = b"b";
/// The file beside sled's that says that there was something in them.
const MARKER: &str = "FORMAT";
/// The folder of the log.
const LOG: &str = "log";
/// Everything that lives is in the registry's memory; sled's own cache serves only the writing of its pages.
const CACHE_BYTES: u64 = 8 << 20;

/// How much is folded at a time: sled takes many times the size of a batch in memory, and keeps it.
const BATCH_BYTES: usize = 512 << 10;

/// The base, open.
pub struct Base {
    db: sled::Db,
    /// sled syncs with `sync_file_range`, which does not wait for the disk's own cache nor for the file's size; this handle
    /// on its file is for the `fdatasync` that does.
    file: File,
    /// The revision that it shows.
    pub floor: Revision,
    path: PathBuf,
}

impl Base {
    /// Opens or makes the base in a data directory.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Foreign`] or [`StoreError::Damaged`]; never an empty cluster in their place.
    pub fn open(path: &Path) -> Result<Base, StoreError> {
        refuse_foreign(path)?;
        let known = path.join(MARKER).exists();
        let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
        let db = open_released(path)?;
        let sick = |error: sled::Error| damaged(error.to_string());
        match db.get(FORMAT).map_err(sick)? {
            Some(found) if found == FORMAT_2 => {}
            Some(found) => {
                return Err(StoreError::Foreign {
                    path: path.into(),
                    found: format!("it says {:?}", String::from_utf8_lossy(&found)),
                });
            }
            // sled takes a file that it cannot read for a new one; the marker beside it remembers better.
            None if known => return Err(damaged("the store is empty, but was not before".into())),
            None if db.is_empty() => drop(db.insert(FORMAT, FORMAT_2).map_err(sick)?),
            None => {
                let found = "a sled database without coracle's marker".into();
                return Err(StoreError::Foreign { path: path.into(), found });
            }
        }
        let floor = match db.get(FLOOR).map_err(sick)? {
            Some(bytes) => bytes.as_ref().try_into().map(|bytes| Revision(u64::from_be_bytes(bytes))),
            None => Ok(BEFORE_ALL),
        };
        let floor = floor.map_err(|_| damaged("the floor is no number".into()))?;
        let file = File::open(path.join("db")).map_err(|e| damaged(e.to_string()))?;
        let base = Base { db, file, floor, path: path.into() };
        base.sync().map_err(damaged)?;
        // The marker comes last of all, once there is a log: where it stands, one must be.
        if known && !base.has_log() {
            return Err(damaged("its log is missing".into()));
        }
        Ok(base)
    }

    /// Remembers, durably, that there is a base and a log in this directory.
    ///
    /// # Errors
    /// The operating system's.
    pub fn mark(&self) -> std::io::Result<()> {
        let marker = self.path.join(MARKER);
        if marker.exists() {
            return Ok(());
        }
        std::fs::write(&marker, FORMAT_2)?;
        File::open(&marker)?.sync_all()?;
        log::sync_dir(&self.path)
    }

    fn has_log(&self) -> bool {
        std::fs::read_dir(self.log_dir()).is_ok_and(|mut files| files.next().is_some())
    }

    /// The folder of the log beside it.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Shows every object, each as the change that led to it.
    ///
    /// # Errors
    /// A text that says what is damaged.
    pub fn read(&self, found: &mut dyn FnMut(Committed)) -> Result<(), String> {
        for entry in self.db.scan_prefix(OBJECTS) {
            let (_, bytes) = entry.map_err(|e| e.to_string())?;
            found(record::decode(&bytes)?.0);
        }
        Ok(())
    }

    /// Takes a file of the log in, then removes it. A crash in between only means going on from the floor.
    fn fold(&mut self, sealed: &Sealed) -> Result<(), String> {
        let told = |e: std::io::Error| format!("{}: {e}", sealed.path.display());
        let bytes = std::fs::read(&sealed.path).map_err(told)?;
        let (mut latest, mut size, mut last) = (HashMap::new(), 0, self.floor);
        log::read(&bytes, &mut |change| {
            if change.object.revision <= last {
                return Ok(());
            }
            last = change.object.revision;
            size += change.object.json.len();
            latest.insert(record::base_key(&change.object.key), change);
            if size >= BATCH_BYTES {
                self.take_in(std::mem::take(&mut latest), last)?;
                size = 0;
            }
            Ok(())
        })?;
        if last != sealed.last {
            return Err(format!("{} ends at {last}, not at {}", sealed.path.display(), sealed.last));
        }
        self.take_in(latest, last)?;
        self.sync()?;
        std::fs::remove_file(&sealed.path).and_then(|()| log::sync_dir(&self.log_dir())).map_err(told)
    }

    /// Moves the floor up to a revision: all or nothing.
    fn take_in(&mut self, latest: HashMap<Vec<u8>, Committed>, floor: Revision) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for (key, change) in latest {
            if change.verb == Verb::Delete {
                batch.remove(key);
                continue;
            }
            let mut bytes = Vec::new();
            record::encode(&change, &mut bytes);
            batch.insert(key, bytes);
        }
        batch.insert(FLOOR, &floor.0.to_be_bytes());
        self.db.apply_batch(batch).map_err(|e| e.to_string())?;
        self.floor = floor;
        Ok(())
    }

    fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|e| e.to_string())?;
        self.file.sync_data().map_err(|e| e.to_string())
    }
}

/// Folds files of the log into the base once they are past the bounds.
pub struct Folder {
    /// Where they go.
    pub base: Base,
    /// How much of the log stays.
    pub bounds: Bounds,
    /// Tells how old it is.
    pub clock: Clock,
    /// The full files, oldest first.
    pub sealed: VecDeque<Sealed>,
}

impl Folder {
    /// Works until nobody can send full files any more. `None` means: look at the clock.
    pub fn run(mut self, full: &Receiver<Option<Sealed>>) {
        loop {
            if let Err(error) = self.fold_due() {
                // Nothing is lost: the log is longer than it should be, and is tried again when there is more of it.
                tracing::warn!(error, "cannot fold the log into the base");
            }
            let Ok(more) = full.recv() else { return };
            self.sealed.extend(more);
        }
    }

    fn fold_due(&mut self) -> Result<(), String> {
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        let mut bytes: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        while let Some(oldest) = self.sealed.front() {
            if bytes <= self.bounds.disk_bytes && oldest.newest.as_second() >= oldest_kept {
                break;
            }
            self.base.fold(oldest)?;
            bytes -= oldest.bytes;
            self.sealed.pop_front();
        }
        Ok(())
    }
}

/// How long somebody who has just ended may hold on to the files: sled's own threads let go of them a moment after the
/// database is dropped.
const LETTING_GO: Duration = Duration::from_millis(500);

/// Opens sled, once its files are free.
fn open_released(path: &Path) -> Result<sled::Db, StoreError> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match open_sled(path) {
            // A lock tells nobody when it goes.
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// Opens sled, whose panics over broken files are errors like any other.
fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| open_error(path, &error)),
        Err(_) => Err(StoreError::Damaged { path: path.into(), why: "its files cannot be read".into() }),
    }
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
        matches!(name.as_str(), "db" | "conf" | "blobs" | LOG | MARKER) || name.starts_with("snap.")
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
