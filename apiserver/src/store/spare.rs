//! A file of zeros that only takes room: it is given up where a full disk would keep the store from being opened (sled writes
//! a snapshot then), and made again once there is room.

use std::path::Path;

use super::Bounds;
use super::disk::{Disk, write_all};

/// Its name, in the data directory.
pub const NAME: &str = "SPARE";

/// Removes it. Answers whether that made room.
pub fn give_up(disk: &dyn Disk, dir: &Path) -> bool {
    disk.remove(&dir.join(NAME)).is_ok()
}

/// Makes it, as large as a file of the log, if it is not there. It holds nothing, so it is not synced; where there is no room
/// for it, the store does without until it is asked again.
pub fn keep(disk: &dyn Disk, dir: &Path, bounds: &Bounds) {
    let path = dir.join(NAME);
    if disk.list(dir).is_ok_and(|found| found.contains(&path)) {
        return;
    }
    let zeros = vec![0; usize::try_from(bounds.file_bytes()).unwrap_or_default()];
    let made = disk.create(&path).and_then(|mut file| write_all(&mut *file, &zeros, 0));
    if let Err(error) = made {
        tracing::debug!(%error, path = %path.display(), "no room for the spare file");
        let _ = disk.remove(&path);
    }
}
