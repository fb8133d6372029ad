//! How the embedded store is opened: what is found is made certain before anybody is shown it or builds upon it.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_api::Revision;

use super::base::Base;
use super::disk::sled_base::{FORMAT_2, is_sleds};
use super::disk::{Barrier, Disk, write_all};
use super::ledger::Ledger;
use super::log::{self, Log, Sealed};
use super::{Bounds, Loaded, StoreError, spare};

/// The file beside the base's that says that there was something in them.
const MARKER: &str = "FORMAT";
/// The file that keeps other processes out.
const LOCK: &str = "LOCK";
/// The folder of the log.
const LOG: &str = "log";
/// How many folders, from the data directory upwards, may have been made for it: `~/.coracle/NAME/data`.
const OURS: usize = 4;

/// An opened and read directory, not yet writing.
pub struct Opened {
    pub base: Box<dyn Base>,
    pub log: Log,
    pub sealed: Vec<Sealed>,
    pub ledger: Ledger,
    pub loaded: Loaded,
    /// Keeps other processes out.
    pub lock: Box<dyn Any + Send>,
}

/// Opens or makes the store in a directory and reads it.
///
/// # Errors
/// [`StoreError::InUse`], [`StoreError::Foreign`], [`StoreError::Damaged`], [`StoreError::Full`] or [`StoreError::Open`]; never
/// an empty cluster in their place.
pub fn open(disk: &Arc<dyn Disk>, path: &Path, bounds: &Bounds) -> Result<Opened, StoreError> {
    match try_open(disk, path, bounds) {
        // On a full disk a cluster must start, too: to be read, and to have something deleted.
        Err(StoreError::Full { .. }) if spare::give_up(&**disk, path) => try_open(disk, path, bounds),
        outcome => outcome,
    }
}

fn try_open(disk: &Arc<dyn Disk>, path: &Path, bounds: &Bounds) -> Result<Opened, StoreError> {
    let failed = |error: io::Error| StoreError::open(path, &error);
    refuse_foreign(&**disk, path)?;
    disk.create_dir(path).map_err(failed)?;
    let lock = disk.lock(&path.join(LOCK)).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::InUse { path: path.into() },
        _ => failed(error),
    })?;
    let known = disk.list(path).map_err(failed)?.contains(&path.join(MARKER));
    let log_dir = path.join(LOG);
    if known {
        // The marker comes last of all, once there is a log: where it stands, one must be.
        let begins = begins_behind(&**disk, path)?;
        begins.ok_or_else(|| StoreError::damaged(path, "its log is missing".into()))?;
    }
    let mut base = open_base(&**disk, path)?;
    let unreadable = |why: String| StoreError::damaged(path, why);
    base.sync(Barrier::FoundBase).map_err(failed)?;
    let floor = base.floor();
    let (mut ledger, mut loaded) = (Ledger::empty(floor), Loaded { floor, ..Loaded::default() });
    base.read(&mut |change| {
        ledger.apply(&change);
        loaded.base.push(change);
    })
    .map_err(unreadable)?;
    disk.create_dir(&log_dir).map_err(failed)?;
    let (log, sealed) = Log::open(disk.clone(), &log_dir, floor, bounds, &mut |change| {
        ledger.apply(&change);
        loaded.log.push(change);
    })?;
    for dir in path.ancestors().take(OURS) {
        match disk.sync_dir(dir, Barrier::DataDir) {
            // Somebody else's, so it was not made for this.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && dir != path => break,
            outcome => outcome.map_err(failed)?,
        }
    }
    if !known {
        let marked = disk.create(&path.join(MARKER)).and_then(|mut file| write_all(&mut *file, FORMAT_2, 0));
        marked.map_err(failed)?;
    }
    spare::keep(&**disk, path, bounds);
    Ok(Opened { base, log, sealed, ledger, loaded, lock })
}

/// Opens the base. If the process before may have died, or given up, while it brought something into it, its files are written
/// again first: what a failed sync leaves can be read, but would never reach the disk.
///
/// # Errors
/// As [`open`].
pub fn open_base(disk: &dyn Disk, path: &Path) -> Result<Box<dyn Base>, StoreError> {
    let base = disk.open_base(path)?;
    let known = disk.list(path).map_err(|error| StoreError::open(path, &error))?.contains(&path.join(MARKER));
    if base.is_new() {
        // sled takes a file that it cannot read for a new one. The marker beside it tells that there was a base.
        return if known {
            Err(StoreError::damaged(path, "the store is empty, but was not before".into()))
        } else {
            Ok(base)
        };
    }
    // A file of the log goes once the base is synced. If it is still there, that may have failed.
    let folding = begins_behind(disk, path)?.is_none_or(|behind| behind < base.floor());
    if known && !folding {
        return Ok(base);
    }
    drop(base);
    disk.rewrite_base(path, Barrier::RewrittenBase).map_err(|error| StoreError::open(path, &error))?;
    disk.open_base(path)
}

/// Where the log begins; nothing if there is none.
fn begins_behind(disk: &dyn Disk, path: &Path) -> Result<Option<Revision>, StoreError> {
    let dir = path.join(LOG);
    if disk.list(path).map_err(|error| StoreError::open(path, &error))?.contains(&dir) {
        return log::begins_behind(disk, &dir);
    }
    Ok(None)
}

/// sled makes its files in any folder that it is given. A folder that holds something else must not become a data
/// directory.
fn refuse_foreign(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let entries: Vec<PathBuf> = match disk.list(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::open(path, &error)),
    };
    let ours = |p: &&PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        matches!(&*name, LOG | MARKER | LOCK | spare::NAME) || is_sleds(&name)
    };
    match entries.iter().find(|p| !ours(p)) {
        Some(other) => {
            Err(StoreError::Foreign { path: path.into(), found: format!("it holds {}", other.display()) })
        }
        None => Ok(()),
    }
}
