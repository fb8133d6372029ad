//! A disk in memory that does what disks do at their worst.
//!
//! - What is written can be read at once, but is on the disk only once it was synced. At a power cut each sector that was not
//!   is there or is not, as chance will have it; so is each entry of a folder.
//! - After a sync that failed, what was not brought to the disk can still be read, and no later sync will bring it there: the
//!   system takes it for written. Only writing it again helps. Some day it is read from the disk again, and is gone.
//! - Any call can fail, a write after a part of it, or can find no room; writes may be short.
//!
//! The base is played as sled is seen from outside: what is taken in is on the disk up to some point, and nothing after a
//! hole that a failed sync has left.

mod base;
mod state;
mod twin;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use rand::Rng;

use base::Opened;
use state::{File, Inode, entry, missing, put};
use twin::{Step, Twin};

pub use state::{Fault, Faulty};

use super::{Barrier, Disk, DiskFile};
use crate::store::StoreError;
use crate::store::base::Base;

/// The unit in which a write is there or is not. Small, so that small frames are torn, too.
const SECTOR: usize = 64;
/// The room without which a base that is there is not opened: sled writes a snapshot then.
const SNAPSHOT: usize = 300;

impl Disk for Faulty {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        if state.seen.get(dir) == Some(&Inode::Dir) { Ok(()) } else { state.make(dir, Inode::Dir) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = &mut *self.0.lock();
        state.call()?;
        state.seen.get(dir).ok_or_else(missing)?;
        Ok(state.seen.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = &mut *self.0.lock();
        state.call()?;
        let Some(Inode::File(id)) = state.seen.get(path) else { return Err(missing()) };
        Ok(state.files.get(id).ok_or_else(missing)?.seen.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        let failed = state.call();
        let comes_to_be = failed.is_ok() || state.random.random_bool(0.5);
        if !comes_to_be {
            return failed.and(Err(missing()));
        }
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.id();
        state.make(path, Inode::File(id))?;
        state.files.insert(id, File::default());
        failed?;
        Ok(Box::new(Handle { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.call()?;
        let Some(Inode::File(id)) = state.seen.get(path) else { return Err(missing()) };
        Ok(Box::new(Handle { disk: self.clone(), id: *id }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        let removed = state.seen.remove(path).ok_or_else(missing)?;
        if let (Some(room), Inode::File(id)) = (&mut state.room, removed) {
            *room += state.files.get(&id).map_or(0, |file| file.seen.len());
        }
        state.unsynced.push((path.into(), None));
        Ok(())
    }

    /// Entries are journalled: after a sync that failed, the next one may bring them to the disk.
    fn sync_dir(&self, dir: &Path, why: Barrier) -> io::Result<()> {
        let state = &mut *self.0.lock();
        let failed = state.call();
        if !state.is_asked(why) {
            return Ok(());
        }
        let (mine, others) =
            std::mem::take(&mut state.unsynced).into_iter().partition(|(path, _)| path.parent() == Some(dir));
        state.unsynced = others;
        for (path, node) in mine {
            if failed.is_ok() || state.random.random_bool(0.5) {
                entry(&mut state.kept, path, node);
            } else {
                state.unsynced.push((path, node));
            }
        }
        failed
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send>> {
        Ok(Box::new(()))
    }

    fn open_base(&self, dir: &Path) -> Result<Box<dyn Base>, StoreError> {
        let state = &mut *self.0.lock();
        state.call().map_err(|error| StoreError::open(dir, &error))?;
        let id = match state.base_of(dir) {
            Some(_) if state.room.is_some_and(|room| room < SNAPSHOT) => {
                return Err(StoreError::open(dir, &io::ErrorKind::StorageFull.into()));
            }
            Some(id) => id,
            None => {
                let id = state.id();
                state
                    .make(&dir.join("db"), Inode::Base(id))
                    .map_err(|error| StoreError::open(dir, &error))?;
                state.bases.insert(id, Twin::default());
                id
            }
        };
        let twin = state.bases.get_mut(&id).ok_or_else(|| StoreError::open(dir, &missing()))?;
        let is_new = !twin.world().marked;
        if is_new {
            twin.unsynced.push(Step::Mark);
        }
        Ok(Box::new(Opened { disk: self.clone(), id, is_new }))
    }

    fn rewrite_base(&self, dir: &Path, why: Barrier) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        let id = state.base_of(dir).ok_or_else(missing)?;
        let asked = state.is_asked(why);
        let twin = state.bases.get_mut(&id).ok_or_else(missing)?;
        if asked {
            twin.seen = twin.world();
            twin.unsynced.clear();
            (twin.kept, twin.hole) = (twin.seen.clone(), false);
        }
        Ok(())
    }
}

/// An open file.
struct Handle {
    disk: Faulty,
    id: u64,
}

impl DiskFile for Handle {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let state = &mut *self.disk.0.lock();
        let failed = state.call();
        let mut count = bytes.len();
        if failed.is_err() || (count > 1 && state.random.random_bool(0.1)) {
            count = state.random.random_range(usize::from(failed.is_ok())..=count);
        }
        let file = state.files.get_mut(&self.id).ok_or_else(missing)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        if let Some(room) = &mut state.room {
            let more = (at + count).saturating_sub(file.seen.len());
            if more > *room {
                count = (file.seen.len() + *room).saturating_sub(at).min(count);
                if count == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            *room -= (at + count).saturating_sub(file.seen.len());
        }
        put(&mut file.seen, at, &bytes[..count]);
        let mut from = 0;
        while from < count {
            let to = ((at + from) / SECTOR + 1) * SECTOR - at;
            let to = to.min(count);
            file.unsynced.push((at + from, bytes[from..to].to_vec()));
            from = to;
        }
        failed.map(|()| count)
    }

    fn sync(&mut self, why: Barrier) -> io::Result<()> {
        let state = &mut *self.disk.0.lock();
        let failed = state.call();
        if !state.is_asked(why) {
            return Ok(());
        }
        let file = state.files.get_mut(&self.id).ok_or_else(missing)?;
        for (at, bytes) in std::mem::take(&mut file.unsynced) {
            if failed.is_ok() || state.random.random_bool(0.5) {
                put(&mut file.kept, at, &bytes);
            }
        }
        failed
    }
}
