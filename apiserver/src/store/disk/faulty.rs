//! A disk in memory that does what disks do at their worst.
//!
//! - What is written can be read at once, but is on the disk only once it was synced. At a power cut each sector that was not
//!   is there or is not, as chance will have it; so is each entry of a folder.
//! - After a sync that failed, what was not brought to the disk can still be read, and no later sync will bring it there: the
//!   system takes it for written. Only writing it again helps. Some day it is read from the disk again, and is gone.
//! - Any call can fail, a write after a part of it, or can find no room; writes may be short.
//!
//! The base is played as sled is seen from outside: what is taken in is on the disk up to some point, and nothing behind a
//! hole that a failed sync has left.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_api::Revision;
use parking_lot::{Mutex, MutexGuard};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Barrier, Disk, DiskFile};
use crate::store::base::Base;
use crate::store::{BEFORE_ALL, Committed, StoreError, Verb};

/// The unit in which a write is there or is not. Small, so that small frames are torn, too.
const SECTOR: usize = 64;
/// The room without which a base that is there is not opened: sled writes a snapshot then.
const SNAPSHOT: usize = 300;

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
pub struct Faulty(Arc<Mutex<State>>);

struct State {
    random: SmallRng,
    files: HashMap<u64, File>,
    bases: HashMap<u64, Twin>,
    /// The folders' entries as they can be read, and as they are on the disk.
    seen: BTreeMap<PathBuf, Node>,
    kept: BTreeMap<PathBuf, Node>,
    /// What was not synced yet, in order: the entry, and what stands there now.
    unsynced: Vec<(PathBuf, Option<Node>)>,
    next: u64,
    /// A fault after so many calls.
    armed: Option<(u32, Fault)>,
    /// How many bytes are left; `None`: enough.
    room: Option<usize>,
    /// Syncs of this kind do nothing.
    ignored: Option<Barrier>,
    /// Syncs that were asked for, by kind.
    asked: BTreeMap<Barrier, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
    Base(u64),
}

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    kept: Vec<u8>,
    /// Sectors that were written and not synced.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What a base holds.
#[derive(Clone, Default)]
struct World {
    marked: bool,
    floor: Option<Revision>,
    objects: BTreeMap<Vec<u8>, Committed>,
}

#[derive(Clone)]
enum Step {
    Mark,
    TakeIn(Vec<(Vec<u8>, Committed)>, Revision),
}

#[derive(Default)]
struct Twin {
    /// What can be read but for `unsynced`, and what is on the disk.
    seen: World,
    kept: World,
    unsynced: Vec<Step>,
    /// Something before the end was lost, so nothing that is written behind it counts.
    hole: bool,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Mark => self.marked = true,
            Step::TakeIn(latest, floor) => {
                for (key, change) in latest {
                    match change.verb {
                        Verb::Delete => drop(self.objects.remove(key)),
                        _ => drop(self.objects.insert(key.clone(), change.clone())),
                    }
                }
                self.floor = Some(*floor);
            }
        }
    }
}

impl Faulty {
    /// An empty disk with one folder, `/`.
    pub fn new(seed: u64) -> Faulty {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
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
        let Some(Node::File(id)) = state.seen.get(path) else { return None };
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
            .filter_map(|(_, node)| if let Node::File(id) = node { Some(*id) } else { None })
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

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn entry(entries: &mut BTreeMap<PathBuf, Node>, path: PathBuf, node: Option<Node>) {
    match node {
        Some(node) => drop(entries.insert(path, node)),
        None => drop(entries.remove(&path)),
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    /// Every call comes by here.
    fn call(&mut self) -> io::Result<()> {
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

    fn make(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let parent = path.parent().ok_or_else(missing)?;
        if self.seen.get(parent) != Some(&Node::Dir) {
            return Err(missing());
        }
        if self.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.seen.insert(path.into(), node);
        self.unsynced.push((path.into(), Some(node)));
        Ok(())
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether a sync is to be done.
    fn is_asked(&mut self, why: Barrier) -> bool {
        *self.asked.entry(why).or_default() += 1;
        self.ignored != Some(why)
    }

    fn base_of(&self, dir: &Path) -> Option<u64> {
        match self.seen.get(&dir.join("db")) {
            Some(Node::Base(id)) => Some(*id),
            _ => None,
        }
    }
}

impl Disk for Faulty {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        if state.seen.get(dir) == Some(&Node::Dir) { Ok(()) } else { state.make(dir, Node::Dir) }
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
        let Some(Node::File(id)) = state.seen.get(path) else { return Err(missing()) };
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
        state.make(path, Node::File(id))?;
        state.files.insert(id, File::default());
        failed?;
        Ok(Box::new(Handle { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.call()?;
        let Some(Node::File(id)) = state.seen.get(path) else { return Err(missing()) };
        Ok(Box::new(Handle { disk: self.clone(), id: *id }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.call()?;
        let removed = state.seen.remove(path).ok_or_else(missing)?;
        if let (Some(room), Node::File(id)) = (&mut state.room, removed) {
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
                state.make(&dir.join("db"), Node::Base(id)).map_err(|error| StoreError::open(dir, &error))?;
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

impl Twin {
    fn world(&self) -> World {
        let mut world = self.seen.clone();
        self.unsynced.iter().for_each(|step| world.step(step));
        world
    }
}

/// An open base.
struct Opened {
    disk: Faulty,
    id: u64,
    is_new: bool,
}

impl Opened {
    fn state(&self) -> MutexGuard<'_, State> {
        self.disk.0.lock()
    }
}

impl Base for Opened {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn floor(&self) -> Revision {
        self.state().bases[&self.id].world().floor.unwrap_or(BEFORE_ALL)
    }

    fn read(&self, found: &mut dyn FnMut(Committed)) -> Result<(), String> {
        self.state().bases[&self.id].world().objects.into_values().for_each(found);
        Ok(())
    }

    fn take_in(&mut self, latest: HashMap<Vec<u8>, Committed>, floor: Revision) -> Result<(), String> {
        let state = &mut *self.state();
        state.call().map_err(|e| e.to_string())?;
        if state.room == Some(0) {
            return Err("no room".into());
        }
        let Some(twin) = state.bases.get_mut(&self.id) else { return Err("no base".into()) };
        twin.unsynced.push(Step::TakeIn(latest.into_iter().collect(), floor));
        Ok(())
    }

    fn sync(&mut self, why: Barrier) -> io::Result<()> {
        let state = &mut *self.state();
        let failed = state.call();
        if !state.is_asked(why) {
            return Ok(());
        }
        let twin = state.bases.get_mut(&self.id).ok_or_else(missing)?;
        let unsynced = std::mem::take(&mut twin.unsynced);
        let brought =
            if failed.is_ok() { unsynced.len() } else { state.random.random_range(0..=unsynced.len()) };
        for (index, step) in unsynced.iter().enumerate() {
            twin.seen.step(step);
            if index < brought && !twin.hole {
                twin.kept.step(step);
            }
        }
        twin.hole |= brought < unsynced.len();
        failed
    }
}
