//! What is held open while a container is made and started.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file or folder inside a volume that stays the one that was checked, whatever takes its name meanwhile: it is held
/// open, and a link in a folder that no container sees leads to it. With the last clone the link goes.
#[derive(Clone, Debug)]
pub struct Held(Arc<Link>);

#[derive(Debug)]
struct Link {
    path: PathBuf,
    is_folder: bool,
    /// A folder's link leads here. Closed after the link is gone, so that the link never leads anywhere else.
    _open: OwnedFd,
}

impl Held {
    /// What is open, and the link that leads to it: one that is there already.
    pub fn new(open: OwnedFd, is_folder: bool, link: PathBuf) -> Held {
        Held(Arc::new(Link { path: link, is_folder, _open: open }))
    }

    /// The link.
    pub fn link(&self) -> &Path {
        &self.0.path
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.0.is_folder
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // One that cannot be removed goes with its pod's files.
        let _ = fs::remove_file(&self.path);
    }
}
