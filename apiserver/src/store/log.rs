//! The change log on disk: files that only grow at their end, so that a commit is one write and one sync.
//!
//! ```text
//!  log/00000000000000000009             [frame][frame]
//!  log/00000000000000004711             [frame][fra          named for the revision after which it begins
//!  log/00000000000000004712.00000001    [frame]0000000000    the second attempt to begin there
//! ```
//!
//! - The next frame is written only when the one before is on disk. So only the last frame that was written can be torn, and
//!   nobody was told that it is there.
//! - The frames of a file count only up to the revision after which the next file begins that holds a frame. When a write
//!   or a sync fails, nothing is ever written to that file again; another one begins after the last change that was
//!   acknowledged, and with its first frame whatever the failed write left in the old file is void.
//! - Zeros are written ahead of the frames. A sync that need not change the file's size is twice as fast, and a frame that
//!   only replaces zeros needs no room on the disk. Some of them are a reserve: they are kept for changes that take away.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_api::Revision;
use jiff::Timestamp;

use super::disk::{Barrier, Disk, DiskFile, is_full, write_all};
use super::{Bounds, Committed, StoreError, frame};

/// How many zeros are written ahead at a time, at most.
const AHEAD: u64 = 1 << 20;
/// How many of them are the reserve, at most: room to delete a hundred objects of the usual size.
const RESERVE: u64 = 256 << 10;

/// The log, open for appending.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// How large a file may become before the next one is begun.
    limit: u64,
    /// The file that grows. There is none only until the first one is made.
    open: Option<Open>,
    /// The name that a new file was last given, whether or not it came to be.
    name: Name,
    last: Revision,
    buffer: Vec<u8>,
}

struct Open {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// Where the frames end.
    at: u64,
    /// Where the zeros after them end.
    zeroed: u64,
    /// When the last change in it was made.
    newest: Option<Timestamp>,
    /// A write or a sync has failed: nobody can say what of the file is on disk, not even another sync.
    broken: bool,
}

/// A file to which nothing is added any more.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Where it is.
    pub path: PathBuf,
    /// Its last change.
    pub last: Revision,
    /// When that was made.
    pub newest: Timestamp,
    /// Its size.
    pub bytes: u64,
}

impl Log {
    /// Opens or makes the log in a folder, which must be there, and shows every change after `floor`. Answers the files
    /// that are full, too.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or [`StoreError::Open`] if the disk fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        floor: Revision,
        bounds: &Bounds,
        found: &mut dyn FnMut(Committed),
    ) -> Result<(Log, Vec<Sealed>), StoreError> {
        let mut reader = Reader { last: floor, floor, newest: None, found };
        let (mut sealed, mut open, mut void) = (Vec::new(), None, Vec::new());
        let names = names(&*disk, dir)?;
        let newest_name = names.last().map(|(name, _)| *name);
        let mut rest = names.into_iter();
        let mut current = next_with_frames(&*disk, &mut rest, &mut void)?;
        while let Some(file) = current {
            let next = next_with_frames(&*disk, &mut rest, &mut void)?;
            let damaged = |why| StoreError::damaged(&file.path, why);
            let (begin, end) =
                reader.read(&file, next.as_ref().map(|next| next.name.behind)).map_err(damaged)?;
            // A file that is wholly in the base waits to be removed; nothing is added to it.
            if next.is_none() && reader.last > floor {
                open = Some(go_on(&*disk, &file, begin, end, reader.newest)?);
            } else if let Some(newest) = reader.newest {
                sealed.push(Sealed { path: file.path, last: reader.last, newest, bytes: end as u64 });
            } else {
                void.push(file);
            }
            current = next;
        }
        if let Some(gap) = void.iter().find(|file| file.name.behind > reader.last) {
            return Err(StoreError::damaged(&gap.path, missing(reader.last.0 + 1)));
        }
        // A log whose changes are all in the base goes on in the file that was begun for the next.
        if open.is_none() && void.last().is_some_and(|file| file.name.behind == reader.last) {
            open = void.pop().map(|file| go_on(&*disk, &file, 0, 0, None)).transpose()?;
            disk.sync_dir(dir, Barrier::FoundLogFile).map_err(|error| StoreError::open(dir, &error))?;
        }
        let last = reader.last;
        let name = newest_name.unwrap_or(Name { behind: Revision(0), attempt: 0 });
        let limit = bounds.file_bytes();
        let mut log = Log { disk, dir: dir.into(), limit, open, name, last, buffer: Vec::new() };
        let failed = |error: io::Error| StoreError::open(dir, &error);
        if log.open.is_none() {
            log.begin(0).map_err(failed)?;
        }
        // Left by attempts that failed. If they cannot be removed now, they are found void again the next time.
        void.into_iter().for_each(|file| drop(log.disk.remove(&file.path)));
        Ok((log, sealed))
    }

    /// Where it is written.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// When the last change was made, if it is in the file that is open.
    pub fn newest(&self) -> Option<Timestamp> {
        self.open.as_ref()?.newest
    }

    /// Makes room for a frame of about so many bytes, and for the reserve after it. Answers the file that became full, if
    /// one did.
    ///
    /// # Errors
    /// The disk's; no byte of a frame was written.
    pub fn prepare(&mut self, bytes: u64) -> io::Result<Option<Sealed>> {
        let (broken, full) =
            self.open.as_ref().map_or((true, true), |open| (open.broken, open.at >= self.limit));
        if broken || full {
            match self.begin(bytes) {
                // A file may exceed the limit as long as it has zeros left to replace.
                Err(error) if !broken && is_full(&error) => {}
                outcome => return outcome,
            }
        }
        let (limit, reserve) = (self.limit, self.reserve());
        if let Some(open) = &mut self.open {
            open.zero_ahead(bytes + reserve, limit + reserve)?;
        }
        Ok(None)
    }

    /// Makes changes durable, in order, all or none.
    ///
    /// # Errors
    /// The disk's. If the file is broken by it, the changes may be on disk until another file is begun.
    pub fn append(&mut self, changes: &[Committed]) -> io::Result<()> {
        let Some(newest) = changes.last() else { return Ok(()) };
        frame::encode(changes, &mut self.buffer);
        let open = self.open.as_mut().filter(|open| !open.broken);
        let open = open.ok_or_else(|| io::Error::other("no file of the log can be written"))?;
        let size = self.buffer.len() as u64;
        open.zero_ahead(size, 0)?;
        write_all(&mut *open.file, &self.buffer, open.at)
            .and_then(|()| open.file.sync(Barrier::Frame))
            .inspect_err(|_| open.broken = true)?;
        open.at += size;
        open.newest = Some(newest.time);
        self.last = newest.object.revision;
        // A burst of large objects must not hold on to its memory.
        self.buffer.shrink_to(1 << 20);
        Ok(())
    }

    /// Whether nothing can be written to the open file any more, because a write has failed.
    pub fn is_broken(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.broken)
    }

    /// Begins the next file, if there is anything in this one, which is answered.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&mut self) -> io::Result<Option<Sealed>> {
        if self.newest().is_none() { Ok(None) } else { self.begin(0) }
    }

    /// Begins another file, with room for a frame. The one before stays if that fails, and else is answered if there is
    /// anything in it.
    fn begin(&mut self, bytes: u64) -> io::Result<Option<Sealed>> {
        // A new name each time: of an attempt that failed nobody can say what is left.
        let attempt = if self.name.behind == self.last { self.name.attempt + 1 } else { 0 };
        self.name = Name { behind: self.last, attempt };
        let path = self.dir.join(self.name.to_string());
        let file = self.disk.create(&path)?;
        let mut next = Open { file, path: path.clone(), at: 0, zeroed: 0, newest: None, broken: false };
        let reserve = self.reserve();
        next.zero_ahead(bytes + reserve, self.limit + reserve).inspect_err(|_| {
            // Room for others. If even that fails, it is found void at the next start.
            let _ = self.disk.remove(&path);
        })?;
        self.disk.sync_dir(&self.dir, Barrier::NewLogFile)?;
        let Some(before) = self.open.replace(next) else { return Ok(None) };
        let sealed = |newest| Sealed { path: before.path.clone(), last: self.last, newest, bytes: before.at };
        if before.newest.is_none() {
            let _ = self.disk.remove(&before.path);
        }
        Ok(before.newest.map(sealed))
    }

    /// How many zeros are kept for changes that take away.
    fn reserve(&self) -> u64 {
        RESERVE.min(self.limit)
    }
}

impl Open {
    /// Sees to it that so many zeros stand after the frames. If there are fewer, more than that are written, as far as the
    /// end that a file should have.
    fn zero_ahead(&mut self, wanted: u64, end: u64) -> io::Result<()> {
        let wanted = self.at + wanted;
        if wanted <= self.zeroed {
            return Ok(());
        }
        let end = (wanted + AHEAD).min(end).max(wanted);
        let zeros = vec![0; usize::try_from(end - self.zeroed).unwrap_or_default()];
        write_all(&mut *self.file, &zeros, self.zeroed)?;
        self.zeroed = end;
        Ok(())
    }
}

/// Goes on with a file whose last frame was found at some place.
///
/// What is there is made certain first. The process before may have died before it synced the last frame, or after a sync
/// that failed: then the system shows the frame and will never bring it to the disk, unless it is written again. What is
/// torn after it becomes zeros.
fn go_on(
    disk: &dyn Disk,
    found: &Found,
    last_frame: usize,
    end: usize,
    newest: Option<Timestamp>,
) -> Result<Open, StoreError> {
    let failed = |error: io::Error| StoreError::open(&found.path, &error);
    let mut file = disk.open(&found.path).map_err(failed)?;
    let torn = found.bytes[end..].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let mut again = found.bytes[last_frame..end].to_vec();
    again.resize(again.len() + torn, 0);
    if !again.is_empty() {
        write_all(&mut *file, &again, last_frame as u64).map_err(failed)?;
        file.sync(Barrier::FoundFrame).map_err(failed)?;
    }
    let (at, zeroed) = (end as u64, found.bytes.len() as u64);
    Ok(Open { file, path: found.path.clone(), at, zeroed, newest, broken: false })
}

/// A file as it was found.
struct Found {
    name: Name,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The next file with a whole frame. Those without one hold nothing, whatever they are named for: an attempt to begin a file
/// has failed, and the one before it may have gone on.
fn next_with_frames(
    disk: &dyn Disk,
    rest: &mut impl Iterator<Item = (Name, PathBuf)>,
    void: &mut Vec<Found>,
) -> Result<Option<Found>, StoreError> {
    for (name, path) in rest {
        let bytes = disk.read(&path).map_err(|error| StoreError::open(&path, &error))?;
        let file = Found { name, path, bytes };
        if frame::frames(&file.bytes).next().is_some() {
            return Ok(Some(file));
        }
        if frame::hold_one(&file.bytes) {
            return Err(StoreError::damaged(&file.path, broken(0)));
        }
        void.push(file);
    }
    Ok(None)
}

fn missing(revision: u64) -> String {
    format!("change {revision} is missing from the log")
}

fn broken(at: usize) -> String {
    format!("it is broken at byte {at}")
}

/// Reads file after file.
struct Reader<'a> {
    last: Revision,
    floor: Revision,
    /// When the last change of the file was made, if there is one.
    newest: Option<Timestamp>,
    found: &'a mut dyn FnMut(Committed),
}

impl Reader<'_> {
    /// Shows the changes of a file; `next` is the revision after which the next file begins. Answers where the last frame that
    /// counts begins and ends.
    fn read(&mut self, file: &Found, next: Option<Revision>) -> Result<(usize, usize), String> {
        if file.name.behind > self.last {
            return Err(missing(self.last.0 + 1));
        }
        self.newest = None;
        let (mut begin, mut end) = (0, 0);
        for frame in frame::frames(&file.bytes) {
            let mut changes = Vec::new();
            frame.read(&mut |change| {
                changes.push(change);
                Ok(())
            })?;
            let Some((last, time)) = changes.last().map(|change| (change.object.revision, change.time))
            else {
                break;
            };
            // The base, too, is always at the end of a frame.
            let past = |end: Revision| frame.first <= end && end < last;
            if next.is_some_and(|next| last > next) || past(self.floor) {
                break;
            }
            for change in changes.into_iter().filter(|change| change.object.revision > self.floor) {
                self.last.0 += 1;
                if change.object.revision != self.last {
                    return Err(missing(self.last.0));
                }
                (self.found)(change);
            }
            (begin, end, self.newest) = (frame.at, frame.end, Some(time));
        }
        let rest = &file.bytes[end..];
        let acknowledged = next.map_or_else(|| frame::hold_one(rest), |next| self.last < next);
        if acknowledged && rest.iter().any(|byte| *byte != 0) {
            return Err(broken(end));
        }
        Ok((begin, end))
    }
}

/// What a file is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// The revision after which it begins.
    behind: Revision,
    /// How many others were begun there before it.
    attempt: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.behind.0)?;
        if self.attempt > 0 { write!(f, ".{:08}", self.attempt) } else { Ok(()) }
    }
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        let (behind, attempt) = text.split_once('.').unwrap_or((text, "0"));
        Some(Name { behind: Revision(behind.parse().ok()?), attempt: attempt.parse().ok()? })
    }
}

/// The files of the log in a folder, in order.
fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Name, PathBuf)>, StoreError> {
    let mut files = Vec::new();
    for path in disk.list(dir).map_err(|error| StoreError::open(dir, &error))? {
        let name = path.file_name().and_then(|name| Name::parse(name.to_str()?));
        let name = name.ok_or_else(|| StoreError::damaged(&path, "it is no file of the log".into()))?;
        files.push((name, path));
    }
    files.sort();
    Ok(files)
}

/// The revision after which the log in a folder begins; none if it has no file.
///
/// # Errors
/// As [`Log::open`].
pub fn begins_behind(disk: &dyn Disk, dir: &Path) -> Result<Option<Revision>, StoreError> {
    Ok(names(disk, dir)?.first().map(|(name, _)| name.behind))
}
