//! What is on the disk in memory, and how it fails, is killed and loses power.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::Barrier;
use super::twin::Twin;

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device fails.
    Io,
    /// There is no room, for this one call.
    NoRoom,
    /// The code that called has a fault of its own.
    Panic,
}

/// The disk. A clone is the same one.
#[derive(Clone)]
pub struct Faulty(pub(super) Arc<Mutex<State>>);

/// What is on the disk, and what is to go wrong with it.
pub struct State {
    pub(super) random: SmallRng,
    pub(super) files: HashMap<u64, File>,
    pub(super) bases: HashMap<u64, Twin>,
    /// The folders' entries as they can be read, and as they are on the disk.
    pub(super) seen: BTreeMap<PathBuf, Inode>,
    pub(super) kept: BTreeMap<PathBuf, Inode>,
    /// What was not synced yet, in order: the entry, and what stands there now.
    pub(super) unsynced: Vec<(PathBuf, Option<Inode>)>,
    pub(super) next: u64,
    /// A fault after so many calls.
    pub(super) armed: Option<(u32, Fault)>,
    /// How many bytes are left; `None`: enough.
    pub(super) room: Option<usize>,
    /// Syncs of this kind do nothing.
    pub(super) ignored: Option<Barrier>,
    /// Syncs that were asked for, by kind.
    pub(super) asked: BTreeMap<Barrier, u64>,
}

/// What stands under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inode {
    Dir,
    File(u64),
    Base(u64),
}

/// A file as it can be read, and as it is on the disk.
#[derive(Default)]
pub struct File {
    pub(super) seen: Vec<u8>,
    pub(super) kept: Vec<u8>,
    /// Sectors that were written and not synced.
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
}

impl Faulty {
    /// An empty disk with one folder, `/`.
    pub fn new(seed: u64) -> Faulty {
        let root = BTreeMap::from([(PathBuf::from("/"), Inode::Dir)]);
        Faulty(Arc::new(Mutex::new(State {
            random: SmallRng::seed_from_u64(seed),
            files: HashMap::new(),
            bases: HashMap::new(),
            seen: root.clone(),
            kept: root,
            unsynced: Vec::new(),
            next: 0,
            armed: None,
            room: None,
            ignored: None,
            asked: BTreeMap::new(),
        })))
    }

    /// Has a call fail after so many others.
    pub fn arm(&self, calls: u32, fault: Fault) {
        self.0.lock().armed = Some((calls, fault));
    }

    /// Whether a call is still to fail.
    pub fn is_armed(&self) -> bool {
        self.0.lock().armed.is_some()
    }

    /// Nothing fails any more, and there is room.
    pub fn heal(&self) {
        let state = &mut *self.0.lock();
        (state.armed, state.room) = (None, None);
    }

    /// Leaves so many bytes of room.
    pub fn leave_room(&self, bytes: usize) {
        self.0.lock().room = Some(bytes);
    }

    /// How large a file is; nothing if there is none.
    pub fn size(&self, path: &Path) -> Option<usize> {
        let state = self.0.lock();
        let Some(Inode::File(id)) = state.seen.get(path) else { return None };
        state.files.get(id).map(|file| file.seen.len())
    }

    /// Syncs of this kind do nothing from now on.
    pub fn ignore(&self, sync: Option<Barrier>) {
        self.0.lock().ignored = sync;
    }

    /// Which kinds of syncs were asked for.
    pub fn asked(&self) -> BTreeMap<Barrier, u64> {
        self.0.lock().asked.clone()
    }

    /// The process ends where it stands. What it has written can still be read; some of what was once lost is found out.
    pub fn kill(&self) {
        let state = &mut *self.0.lock();
        for file in state.files.values_mut() {
            if state.random.random_bool(0.3) {
                file.seen = file.kept.clone();
                for (at, bytes) in &file.unsynced {
                    put(&mut file.seen, *at, bytes);
                }
            }
        }
        for base in state.bases.values_mut() {
            let written = state.random.random_range(0..=base.unsynced.len());
            base.unsynced.truncate(written);
        }
    }

    /// The power fails.
    pub fn cut(&self) {
        let state = &mut *self.0.lock();
        let kept_of_all = [0.0, 0.5, 0.9, 1.0][state.random.random_range(0..4)];
        for (path, node) in std::mem::take(&mut state.unsynced) {
            if state.random.random_bool(kept_of_all) {
                entry(&mut state.kept, path, node);
            }
        }
        // What lies in a folder that is not there is not there either.
        let kept = state.kept.clone();
        state.kept.retain(|path, _| path.ancestors().all(|above| kept.contains_key(above)));
        state.seen = state.kept.clone();
        for file in state.files.values_mut() {
            for (at, bytes) in std::mem::take(&mut file.unsynced) {
                if state.random.random_bool(kept_of_all) {
                    put(&mut file.kept, at, &bytes);
                }
            }
            file.seen = file.kept.clone();
        }
        for base in state.bases.values_mut() {
            let written = state.random.random_range(0..=base.unsynced.len());
            let unsynced = std::mem::take(&mut base.unsynced);
            if !base.hole {
                unsynced[..written].iter().for_each(|step| base.kept.step(step));
            }
            (base.seen, base.hole) = (base.kept.clone(), false);
        }
    }

    /// Flips a bit of a file of the log, on the disk. Answers whether there was one.
    pub fn rot(&self, which: usize, at: usize) -> bool {
        let state = &mut *self.0.lock();
        let logs: Vec<u64> = state
            .kept
            .iter()
            .filter(|(path, _)| path.starts_with("/data/log"))
            .filter_map(|(_, node)| if let Inode::File(id) = node { Some(*id) } else { None })
            .collect();
        let Some(file) = logs.get(which % logs.len().max(1)).and_then(|id| state.files.get_mut(id)) else {
            return false;
        };
        let end = file.kept.iter().rposition(|byte| *byte != 0).map_or(0, |end| end + 1);
        if end == 0 {
            return false;
        }
        let at = at % end;
        file.kept[at] ^= 1 << (at % 8);
        file.seen = file.kept.clone();
        true
    }
}

pub(super) fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn entry(entries: &mut BTreeMap<PathBuf, Inode>, path: PathBuf, node: Option<Inode>) {
    match node {
        Some(node) => drop(entries.insert(path, node)),
        None => drop(entries.remove(&path)),
    }
}

pub(super) fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    /// Every call comes by here.
    pub(super) fn call(&mut self) -> io::Result<()> {
        match &mut self.armed {
            Some((0, fault)) => {
                let fault = *fault;
                self.armed = None;
                Err(match fault {
                    Fault::Io => io::Error::other("the device fails"),
                    Fault::NoRoom => io::ErrorKind::StorageFull.into(),
                    Fault::Panic => panic!("as the test wants it"),
                })
            }
            Some((calls, _)) => {
                *calls -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn make(&mut self, path: &Path, node: Inode) -> io::Result<()> {
        let parent = path.parent().ok_or_else(missing)?;
        if self.seen.get(parent) != Some(&Inode::Dir) {
            return Err(missing());
        }
        if self.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.seen.insert(path.into(), node);
        self.unsynced.push((path.into(), Some(node)));
        Ok(())
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether a sync is to be done.
    pub(super) fn is_asked(&mut self, why: Barrier) -> bool {
        *self.asked.entry(why).or_default() += 1;
        self.ignored != Some(why)
    }

    pub(super) fn base_of(&self, dir: &Path) -> Option<u64> {
        match self.seen.get(&dir.join("db")) {
            Some(Inode::Base(id)) => Some(*id),
            _ => None,
        }
    }
}
