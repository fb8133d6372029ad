//! How much room a folder takes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unit in which file systems count what a file takes.
const BLOCK: u64 = 512;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Whether a part could not be read, and is not counted.
    pub partial: bool,
}

/// Adds up what the files below a folder take on their disk: holes take nothing, a file with two names counts once,
/// links and other file systems are not followed. Stops once it is more than `limit`.
///
/// # Errors
/// The folder itself cannot be read.
pub fn usage(folder: &Path, limit: u64) -> io::Result<Usage> {
    let disk = fs::symlink_metadata(folder)?.dev();
    let mut usage = Usage::default();
    let mut several_names = HashSet::new();
    let mut left = vec![folder.to_path_buf()];
    while let Some(folder) = left.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // A pod's files come and go meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                usage.partial = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != disk || (meta.nlink() > 1 && !meta.is_dir() && !several_names.insert(meta.ino()))
            {
                continue;
            }
            usage.bytes = usage.bytes.saturating_add(meta.blocks().saturating_mul(BLOCK));
            if usage.bytes > limit {
                return Ok(usage);
            }
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_room_is_counted_once() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, kib) = (folder.path(), 1024);
        let bytes = |limit| super::usage(path, limit).unwrap().bytes;
        let empty = bytes(u64::MAX);
        fs::create_dir(path.join("d")).unwrap();
        let before = bytes(u64::MAX);
        fs::write(path.join("d/a"), vec![1; 100 * kib]).unwrap();
        fs::hard_link(path.join("d/a"), path.join("b")).unwrap();
        fs::write(other.path().join("big"), vec![1; 500 * kib]).unwrap();
        std::os::unix::fs::symlink(other.path(), path.join("link")).unwrap();
        fs::File::create(path.join("hole")).unwrap().set_len(1 << 30).unwrap();
        let grown = bytes(u64::MAX) - before;
        assert!((100 * 1024..140 * 1024).contains(&grown), "{empty} {before} {grown}");
        assert!(bytes(50 * 1024) > 50 * 1024, "it stops when the limit is passed");
        assert!(super::usage(&path.join("nothing"), 1).is_err());
    }
}
