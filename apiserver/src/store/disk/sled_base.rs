//! The base of this machine, which sled keeps.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coracle_api::Revision;

use super::Barrier;
use super::syncs::Syncs;
use crate::store::base::Base;
use crate::store::{BEFORE_ALL, Committed, StoreError, Verb, record};

/// The key of the format marker.
const FORMAT: &[u8] = b"mformat";
/// What the marker says. A later format reads this one or refuses it by name.
pub const FORMAT_2: &[u8] = b"coracle store 2";
/// The key of the revision up to which everything is folded into the base.
const FLOOR: &[u8] = b"mfloor";
/// What the keys of objects begin with.
const OBJECTS: &[u8] = b"b";
/// Where sled keeps what is too large for a page.
const BLOBS: &str = "blobs";
/// Everything that lives is in the registry's memory; sled's own cache serves only the writing of its pages.
const CACHE_BYTES: u64 = 8 << 20;

/// The base in sled.
struct SledBase {
    db: sled::Db,
    is_new: bool,
    floor: Revision,
    path: PathBuf,
    syncs: Syncs,
    /// sled syncs with `sync_file_range`, which does not wait for the disk's own cache nor for the file's size; this handle
    /// on its file is for the sync that does.
    file: File,
    /// Files that never change and have been synced: sled itself syncs none of its blobs.
    synced: BTreeSet<PathBuf>,
}

/// Opens or makes a base in a folder.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::Foreign`] or [`StoreError::Damaged`]; [`StoreError::Full`] or [`StoreError::Open`] if
/// the system refuses.
pub fn open(syncs: &Syncs, path: &Path) -> Result<Box<dyn Base>, StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: path.into(), why };
    let db = open_released(path)?;
    let sick = |error: sled::Error| open_error(path, error);
    let is_new = match db.get(FORMAT).map_err(sick)? {
        Some(found) if found == FORMAT_2 => false,
        Some(found) => {
            return Err(StoreError::Foreign {
                path: path.into(),
                found: format!("it says {:?}", String::from_utf8_lossy(&found)),
            });
        }
        None if db.is_empty() => true,
        None => {
            let found = "a sled database without coracle's marker".into();
            return Err(StoreError::Foreign { path: path.into(), found });
        }
    };
    if is_new {
        db.insert(FORMAT, FORMAT_2).map_err(sick)?;
    }
    let floor = match db.get(FLOOR).map_err(sick)? {
        Some(bytes) => bytes.as_ref().try_into().map(|bytes| Revision(u64::from_be_bytes(bytes))),
        None => Ok(BEFORE_ALL),
    };
    let floor = floor.map_err(|_| damaged("the floor is no number".into()))?;
    let file = File::open(path.join("db")).map_err(|error| StoreError::open(path, &error))?;
    let (syncs, path, synced) = (syncs.clone(), path.into(), BTreeSet::new());
    Ok(Box::new(SledBase { db, is_new, floor, path, syncs, file, synced }))
}

impl Base for SledBase {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn floor(&self) -> Revision {
        self.floor
    }

    fn read(&self, found: &mut dyn FnMut(Committed)) -> Result<(), String> {
        for entry in self.db.scan_prefix(OBJECTS) {
            let (_, bytes) = entry.map_err(|e| e.to_string())?;
            found(record::decode(&bytes)?.0);
        }
        Ok(())
    }

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

    fn sync(&mut self, _: Barrier) -> io::Result<()> {
        self.db.flush()?;
        self.sync_files()
    }
}

impl SledBase {
    fn sync_files(&mut self) -> io::Result<()> {
        self.syncs.sync(&self.path.join("db"), &self.file)?;
        let before = self.synced.len();
        for path in files(&self.path)? {
            // sled may remove one meanwhile, whose content it has moved.
            if path.ends_with("db") || self.synced.contains(&path) || !path.exists() {
                continue;
            }
            self.syncs.sync(&path, &File::open(&path)?)?;
            self.synced.insert(path);
        }
        if self.synced.len() > before {
            let blobs = self.path.join(BLOBS);
            self.syncs.sync(&blobs, &File::open(&blobs)?)?;
        }
        Ok(())
    }
}

/// Whether a file or folder of a data directory is sled's.
pub fn is_sleds(name: &str) -> bool {
    matches!(name, "db" | "conf" | BLOBS) || name.starts_with("snap.")
}

/// The files in which sled keeps a base.
///
/// # Errors
/// The operating system's.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if is_sleds(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    for entry in fs::read_dir(path.join(BLOBS))? {
        files.push(entry?.path());
    }
    Ok(files)
}

/// How long somebody who has just ended may hold on to the files: sled's own threads let go of them a moment after the
/// database is dropped.
const LETTING_GO: Duration = Duration::from_millis(500);

/// Opens sled, once its files are free.
fn open_released(path: &Path) -> Result<sled::Db, StoreError> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        match open_db(path) {
            // Nothing tells when a file lock is released, so it is tried again.
            Err(StoreError::InUse { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// Opens sled, whose panics over broken files are errors like any other.
fn open_db(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| open_error(path, error)),
        Err(_) => Err(StoreError::Damaged { path: path.into(), why: "its files cannot be read".into() }),
    }
}

/// Only what sled itself finds wrong is damage. What the system refuses (no room, no right, too many open files) says nothing
/// about the files.
fn open_error(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if error.raw_os_error().is_some() => StoreError::open(path, &error),
        error if error.to_string().contains("could not acquire lock") => {
            StoreError::InUse { path: path.into() }
        }
        error => StoreError::Damaged { path: path.into(), why: error.to_string() },
    }
}
