//! The folders of a node: one on disk, and one in the machine's memory for what must never reach a disk.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A file system in memory that every Linux has.
const SHARED: &str = "/dev/shm";

/// The link in a node's folder that says where its folder in memory is. It is there before the folder is, so that
/// whoever removes the one finds the other.
const LINK: &str = "memory";

/// The folder of a pod with links to what is held open of its volumes.
const HELD: &str = "held";

/// The folders of a node.
#[derive(Clone, Debug)]
pub struct Folders {
    disk: PathBuf,
    memory: PathBuf,
}

impl Folders {
    /// The folders of a node, made where they are not there. Nobody else may look into them: tokens and Secrets lie there.
    /// The one in memory has a name that nobody can guess, and so nobody can have made it first.
    ///
    /// # Errors
    /// A folder that cannot be made, or that is somebody else's.
    pub fn open(root: &Path, name: &str) -> io::Result<Folders> {
        let private = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder);
        private(root)?;
        let link = root.join(LINK);
        if !Path::new(SHARED).is_dir() {
            private(&link)?;
            return Ok(Folders { disk: root.into(), memory: link });
        }
        let memory = match fs::read_link(&link) {
            Ok(known) => known,
            Err(_) => {
                let fresh = RandomState::new().hash_one(name);
                let fresh = Path::new(SHARED).join(format!("coracle.{name}.{fresh:016x}"));
                symlink(&fresh, &link)?;
                fresh
            }
        };
        private(&memory)?;
        if fs::symlink_metadata(&memory)?.uid() != fs::metadata(root)?.uid() {
            let fault = format!("{} belongs to another user; remove it", memory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, fault));
        }
        Ok(Folders { disk: root.into(), memory })
    }

    /// The folder of a pod on disk.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.disk.join("pods").join(uid)
    }

    /// The folder of a pod in memory.
    fn pod_memory(&self, uid: &str) -> PathBuf {
        self.memory.join("pods").join(uid)
    }

    /// The folder of a pod's volume.
    pub fn volume(&self, uid: &str, name: &str, in_memory: bool) -> PathBuf {
        let pod = if in_memory { self.pod_memory(uid) } else { self.pod(uid) };
        pod.join("volumes").join(name)
    }

    /// The pods of which there are files.
    pub fn pods(&self) -> Vec<String> {
        let names = |folder: &Path| fs::read_dir(folder.join("pods")).into_iter().flatten().flatten();
        let all = names(&self.disk).chain(names(&self.memory));
        let pods: BTreeSet<String> = all.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        pods.into_iter().collect()
    }

    /// Where links to what is held open of a pod's volumes lie: beside each kind of them.
    pub fn held(&self, uid: &str) -> Vec<PathBuf> {
        self.of_pod(uid).iter().map(|pod| pod.join(HELD)).collect()
    }

    /// Removes what an agent that was killed has held open.
    pub fn forget_held(&self) {
        for folder in self.pods().iter().flat_map(|uid| self.held(uid)) {
            if let Err(error) = remove(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove");
            }
        }
    }

    /// All folders of a pod.
    pub fn of_pod(&self, uid: &str) -> Vec<PathBuf> {
        vec![self.pod(uid), self.pod_memory(uid)]
    }
}

/// A node's folders, in the order in which they are removed: the one with the link to the other last.
pub fn of_node(root: &Path) -> Vec<PathBuf> {
    let memory = fs::read_link(root.join(LINK)).ok().filter(|memory| memory.starts_with(SHARED));
    memory.into_iter().chain([root.to_path_buf()]).collect()
}

/// Removes a folder with all that is in it. One that is not there is fine.
///
/// # Errors
/// What cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An error of the system in Go's words: in small letters and without its number.
pub(super) fn in_go_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

pub(super) fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remove_all(root: &Path) -> io::Result<()> {
        of_node(root).iter().try_for_each(|folder| remove(folder))
    }

    #[test]
    fn folders_are_private_found_again_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("nodes/n");
        let folders = Folders::open(&root, "c.n").unwrap();
        for folder in [&folders.disk, &folders.memory] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        }
        fs::create_dir_all(folders.pod_memory("u")).unwrap();
        let again = Folders::open(&root, "c.n").unwrap();
        assert_eq!((again.memory.clone(), again.pods()), (folders.memory.clone(), vec!["u".to_owned()]));
        // As after a reboot.
        fs::remove_dir_all(&folders.memory).unwrap();
        assert!(Folders::open(&root, "c.n").unwrap().memory.is_dir());
        // A node of the same name in another folder has folders of its own.
        let other = Folders::open(&dir.path().join("other"), "c.n").unwrap();
        assert_ne!(other.memory, folders.memory);
        remove_all(&other.disk).unwrap();
        remove_all(&root).unwrap();
        remove_all(&root).unwrap();
        assert!(!root.exists() && !folders.memory.exists() && !other.memory.exists());
    }
}
