//! How files are brought to the disk of this machine. Tests see what was brought there, and in which order.

use std::fs::File;
use std::io;
use std::path::Path;

/// What was done with a file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was synced.
    Synced,
    /// It was removed.
    Removed,
}

/// Brings files and folders to the disk.
#[derive(Clone, Default)]
pub struct Syncs {
    /// Is called, in order, for all that was brought to the disk and all that was removed.
    #[cfg(test)]
    pub observer: Option<std::sync::Arc<dyn Fn(Done, &Path) + Send + std::marker::Sync>>,
}

impl Syncs {
    /// Brings a file or a folder to the disk, its metadata, too.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        file.sync_all()?;
        self.tell(Done::Synced, path);
        Ok(())
    }

    /// Tells the observer, if there is one.
    #[cfg(test)]
    pub fn tell(&self, done: Done, path: &Path) {
        if let Some(observer) = &self.observer {
            observer(done, path);
        }
    }

    /// Does nothing: there are no observers outside of tests.
    #[cfg(not(test))]
    pub fn tell(&self, _: Done, _: &Path) {}
}
