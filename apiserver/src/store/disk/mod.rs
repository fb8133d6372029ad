//! The files below the embedded store: everything that it asks of a disk, and nothing else.
//!
//! [`Machine`] is the disk of this machine. Tests put one in its place that fails, fills up, writes half of what it is given,
//! and forgets at a power cut what was not synced (`faulty.rs`).

pub mod machine;

#[cfg(test)]
pub mod faulty;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::base::Base;
pub use machine::Machine;

/// A disk.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it that are missing.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// What is in a folder, in order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Makes a file that must not be there yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes what happened to the entries of a folder durable.
    fn sync_dir(&self, dir: &Path, why: Barrier) -> io::Result<()>;
    /// Keeps other processes from a folder for as long as the answer lives; `WouldBlock` if one is there already.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>>;
    /// Opens or makes the base in a folder.
    fn open_base(&self, dir: &Path) -> Result<Box<dyn Base>, StoreError>;
    /// Reads the files of a base, which is not open, writes the same again and syncs them.
    fn rewrite_base(&self, dir: &Path, why: Barrier) -> io::Result<()>;
}

/// A file that is written to.
pub trait DiskFile: Send {
    /// Writes some bytes at a position and answers how many: not always all.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Makes what was written durable, and as much of the file's size as it takes to read it.
    fn sync(&mut self, why: Barrier) -> io::Result<()>;
}

/// Writes all of some bytes.
///
/// # Errors
/// The disk's. Some of the bytes may have been written.
pub fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => (bytes, at) = (&bytes[count..], at + count as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the disk has no room, which passes when somebody makes some.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why something is synced: every place in the store that waits for the disk, and what a power cut would take without it.
/// A test leaves out one after the other and sees that acknowledged changes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Barrier {
    /// A frame of the log, before its writers are answered. Without it: their changes.
    Frame,
    /// The folder of the log, before anything is written to a new file. Without it: the file, with all that was acknowledged
    /// from it.
    NewLogFile,
    /// The last frame that was found at a start, once it has been written again. The process before may have died without
    /// syncing it, or after a sync that failed. Without it: a frame that this process has shown and built upon.
    FoundFrame,
    /// The folder of the log, if it holds nothing but a file to which nothing was written yet: the process before may have died
    /// before it synced that. Without it: the file, with what this process adds to it.
    FoundLogFile,
    /// The base as it was found or made at a start. Without it: the mark that it is one.
    FoundBase,
    /// A base that the process before may not have been able to sync, once it has been written again. Without it: what that
    /// process folded, whose log this one then removes.
    RewrittenBase,
    /// The base, before the file of the log goes that was folded into it. Without it: the changes of that file.
    Folded,
    /// The data directory and those above it, at a start. Without it: the folder of the log, or all.
    DataDir,
}

impl Barrier {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Barrier; 8] = [
        Barrier::Frame,
        Barrier::NewLogFile,
        Barrier::FoundFrame,
        Barrier::FoundLogFile,
        Barrier::FoundBase,
        Barrier::RewrittenBase,
        Barrier::Folded,
        Barrier::DataDir,
    ];
}
