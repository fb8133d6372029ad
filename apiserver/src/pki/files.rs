//! Private files: readable by their owner only, whole or not there at all.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::PkiError;

/// Makes a folder that only its owner can enter.
pub(super) fn make_private_dir(path: &Path) -> Result<(), PkiError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| PkiError::at(path, error))
}

/// Writes a file with mode 0600 beside its place, makes it durable, and moves it there.
pub fn write_private(path: &Path, contents: &str) -> Result<(), PkiError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let written = (|| {
        // A leftover of a crash may have another mode, which opening would keep.
        match fs::remove_file(fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
        match path.parent() {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|error| PkiError::at(path, error))
}

/// Keeps other processes from changing what is in a folder, until it is dropped.
pub(super) fn lock(dir: &Path) -> Result<fs::File, PkiError> {
    let path = dir.join("lock");
    let locked = (|| {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(file)
    })();
    locked.map_err(|error| PkiError::at(&path, error))
}

/// What a file says; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PkiError::at(path, error)),
    }
}
