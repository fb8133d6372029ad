//! The files below the embedded store: everything that it asks of a disk, and nothing else.
//!
//! [`Machine`] is the disk of this machine. Tests put one in its place that fails, fills up, writes half of what it is given,
//! and forgets at a power cut what was not synced (`faulty`).

mod barrier;
mod errors;
pub mod machine;
pub mod sled_base;
pub mod syncs;

#[cfg(test)]
pub mod faulty;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::base::Base;
pub use barrier::Barrier;
pub use errors::is_full;
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
