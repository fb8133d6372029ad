//! The change log on disk: files that only grow at their end, so that a commit is one write and one sync.
//!
//! ```text
//!  log/00000000000000000009   [frame][frame][frame]
//!  log/00000000000000004711   [frame][frame]0000000000     named for the revision behind which it begins
//!  frame: a line with length, CRC-32 and first revision in hexadecimal digits, then the records of the changes
//! ```
//!
//! A frame is one commit. The next is written only when it is on disk, so only the very last one can be torn, and then nobody
//! was told that it is there. The zeros are written ahead: a sync that need not change the file's size is twice as fast.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use coracle_api::Revision;
use jiff::Timestamp;

use super::Committed;
use super::record;

/// How many zeros are written ahead, at most up to where the file ends.
const AHEAD: u64 = 1 << 20;
/// `0000002a 90abcdef 0000000000000010\n`
const HEADER: usize = 35;

/// The log, open for appending.
pub struct Log {
    dir: PathBuf,
    /// How large a file may become before the next one is begun.
    limit: u64,
    file: File,
    path: PathBuf,
    at: u64,
    zeroed: u64,
    last: Revision,
    newest: Option<Timestamp>,
    buffer: Vec<u8>,
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
    /// Opens or makes the log in a folder and shows every change behind `floor`. Answers the files that are full, too.
    ///
    /// # Errors
    /// A text that says what is damaged or cannot be read.
    pub fn open(
        dir: &Path,
        floor: Revision,
        limit: u64,
        found: &mut dyn FnMut(Committed),
    ) -> Result<(Log, Vec<Sealed>), String> {
        let told = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(dir).map_err(|e| told(dir, e))?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| told(dir, e))? {
            paths.push(entry.map_err(|e| told(dir, e))?.path());
        }
        paths.sort();
        let (mut last, mut sealed, mut open) = (floor, Vec::new(), None);
        for (index, path) in paths.iter().enumerate() {
            let bytes = fs::read(path).map_err(|e| told(path, e))?;
            let mut newest = None;
            let end = read(&bytes, &mut |change| {
                let revision = change.object.revision;
                newest = Some(change.time);
                if revision > floor {
                    last.0 += 1;
                    if revision != last {
                        return Err(format!("change {last} is missing from the log"));
                    }
                    found(change);
                }
                Ok(())
            })
            .map_err(|why| format!("{}: {why}", path.display()))?;
            let rest = bytes.get(end..).unwrap_or_default();
            let torn = rest.iter().any(|byte| *byte != 0);
            if torn && (index + 1 < paths.len() || holds_frame(rest)) {
                return Err(format!("{} is broken at byte {end}", path.display()));
            }
            let (at, size) = (end as u64, bytes.len() as u64);
            if index + 1 == paths.len() {
                open = Some((path.clone(), at, if torn { at } else { size }, newest));
            } else {
                let newest = newest.ok_or_else(|| format!("{} holds no change", path.display()))?;
                sealed.push(Sealed { path: path.clone(), last, newest, bytes: at });
            }
        }
        let (path, at, zeroed, newest) = match open {
            Some(open) => open,
            None => (dir.join(name(last)), 0, 0, None),
        };
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|file| file.set_len(zeroed).and_then(|()| file.sync_all()).map(|()| file))
            .and_then(|file| sync_dir(dir).map(|()| file))
            .map_err(|e| told(&path, e))?;
        let dir = dir.to_path_buf();
        let log = Log { dir, limit, file, path, at, zeroed, last, newest, buffer: Vec::new() };
        Ok((log, sealed))
    }

    /// When the last change was made, if it is in the file that is open.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Makes changes durable, in order, all or none. Answers the file that became full before, if one did.
    ///
    /// # Errors
    /// The operating system's. What then is on disk is known only when the log is opened again.
    pub fn append(&mut self, changes: &[Committed]) -> io::Result<Option<Sealed>> {
        let (Some(first), Some(newest)) = (changes.first(), changes.last()) else { return Ok(None) };
        let sealed = if self.at >= self.limit { self.seal()? } else { None };
        self.buffer.clear();
        self.buffer.resize(HEADER, b'0');
        for change in changes {
            record::encode(change, &mut self.buffer);
        }
        let header = header(first.object.revision, &self.buffer[HEADER..]);
        self.buffer[..HEADER].copy_from_slice(header.as_bytes());
        let end = self.at + self.buffer.len() as u64;
        if end > self.zeroed {
            let ahead = AHEAD.min(self.limit.saturating_sub(end));
            self.file.write_all_at(&vec![0; usize::try_from(ahead).unwrap_or_default()], end)?;
            self.zeroed = end + ahead;
        }
        self.file.write_all_at(&self.buffer, self.at)?;
        self.file.sync_data()?;
        // A burst of large objects must not hold on to its memory.
        self.buffer.shrink_to(1 << 20);
        (self.at, self.last, self.newest) = (end, newest.object.revision, Some(newest.time));
        Ok(sealed)
    }

    /// Begins the next file, if there is anything in this one.
    ///
    /// # Errors
    /// The operating system's.
    pub fn seal(&mut self) -> io::Result<Option<Sealed>> {
        let Some(newest) = self.newest else { return Ok(None) };
        let path = self.dir.join(name(self.last));
        self.file = File::options().write(true).create_new(true).open(&path)?;
        sync_dir(&self.dir)?;
        let sealed =
            Sealed { path: std::mem::replace(&mut self.path, path), last: self.last, newest, bytes: self.at };
        (self.at, self.zeroed, self.newest) = (0, 0, None);
        Ok(Some(sealed))
    }
}

/// Makes what happened to the entries of a folder durable.
///
/// # Errors
/// The operating system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Shows every change of a file. Answers where the whole frames end.
///
/// # Errors
/// A text, for a frame that is whole but cannot be understood, and whatever `found` says.
pub fn read(bytes: &[u8], found: &mut dyn FnMut(Committed) -> Result<(), String>) -> Result<usize, String> {
    let mut at = 0;
    while let Some(mut body) = frame(&bytes[at..]) {
        at += HEADER + body.len();
        while !body.is_empty() {
            let (change, size) = record::decode(body)?;
            body = &body[size..];
            found(change)?;
        }
    }
    Ok(at)
}

fn name(behind: Revision) -> String {
    format!("{:020}", behind.0)
}

fn header(first: Revision, body: &[u8]) -> String {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first.0.to_be_bytes());
    crc.update(body);
    format!("{:08x} {:08x} {:016x}\n", body.len(), crc.finalize(), first.0)
}

/// The body of the frame that begins here, if it is whole.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(bytes.get(..HEADER)?).ok()?;
    let size = usize::from_str_radix(text.get(..8)?, 16).ok()?;
    let first = u64::from_str_radix(text.get(18..HEADER - 1)?, 16).ok()?;
    let body = bytes.get(HEADER..HEADER.checked_add(size)?)?;
    (header(Revision(first), body) == text).then_some(body)
}

/// Whether a whole frame stands anywhere: then what is broken before it had been acknowledged.
fn holds_frame(bytes: &[u8]) -> bool {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.filter_map(|end| end.checked_sub(HEADER)).any(|start| frame(&bytes[start..]).is_some())
}
