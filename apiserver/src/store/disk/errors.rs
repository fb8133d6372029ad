//! What errors of a disk mean.

use std::io;

/// Whether the disk has no room, which passes when somebody makes some.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
