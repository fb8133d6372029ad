//! The files of pods whose containers are real: folders of this machine, which containers mount.
//!
//! What holds secrets or tokens lies in memory (`/dev/shm`), never on a disk. All work on files is done on threads of its
//! own: a slow disk must not hold up the pods.

mod atomic;
mod folders;
mod host_path;

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{Error, MachineFiles, MountSource, PodFile, PodFiles, Runtime, VolumeContent, VolumeSpec};
use crate::helper::{Job, measure};
use crate::labels::Owner;
use folders::{Folders, in_go_words, make_folder};

/// The files of one node's pods.
pub struct DiskFiles {
    root: PathBuf,
    folders: Folders,
    owner: Owner,
    /// Has done what this process may not do.
    runtime: Arc<dyn Runtime>,
}

impl DiskFiles {
    /// Opens the folders of a node, or makes them.
    ///
    /// # Errors
    /// A folder that cannot be made, or that is somebody else's.
    pub async fn open(root: &Path, owner: &Owner, runtime: Arc<dyn Runtime>) -> Result<DiskFiles, Error> {
        let name = format!("{}.{}", owner.cluster, owner.node.as_deref().unwrap_or_default());
        let (root, at) = (root.to_path_buf(), root.to_path_buf());
        let folders = on_a_thread(move || Folders::open(&at, &name)).await;
        let folders =
            folders.map_err(|error| Error::Refused(format!("cannot use {}: {error}", root.display())))?;
        Ok(DiskFiles { root, folders, owner: owner.clone(), runtime })
    }
}

/// Removes everything that nodes have below these roots. What containers wrote as root, a helper removes where this
/// process may not.
///
/// # Errors
/// What is left, and why.
pub async fn remove_nodes(runtime: &dyn Runtime, owner: &Owner, roots: &[PathBuf]) -> Result<(), Error> {
    let folders = roots.iter().flat_map(|root| folders::of_node(root)).collect();
    remove(runtime, owner, folders).await
}

async fn remove(runtime: &dyn Runtime, owner: &Owner, folders: Vec<PathBuf>) -> Result<(), Error> {
    for folder in folders {
        let left = |error: io::Error| Error::Refused(format!("cannot remove {}: {error}", folder.display()));
        let here = || {
            let folder = folder.clone();
            on_a_thread(move || folders::remove(&folder))
        };
        match here().await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                runtime.help(owner, &Job::Empty { folder: folder.clone() }).await?;
                here().await.map_err(left)?;
            }
            outcome => outcome.map_err(left)?,
        }
    }
    Ok(())
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes a volume, or brings it up to date.
fn make_volume(folders: &Folders, uid: &str, volume: &VolumeSpec) -> Result<PathBuf, String> {
    let go = |error: io::Error| in_go_words(&error);
    match &volume.content {
        VolumeContent::Files { files, in_memory } => {
            let folder = folders.volume(uid, &volume.name, *in_memory);
            if !folder.is_dir() {
                make_folder(&folder, if *in_memory { 0o1777 } else { 0o777 }).map_err(go)?;
            }
            atomic::write(&folder, files, volume.group, volume.now).map_err(go)?;
            Ok(folder)
        }
        VolumeContent::Folder { in_memory } => {
            let folder = folders.volume(uid, &volume.name, *in_memory);
            if !folder.is_dir() {
                let mode = if *in_memory { 0o1777 } else { 0o777 };
                make_folder(&folder, mode).map_err(go)?;
                if let Some(group) = volume.group
                    && atomic::give_root(&folder, group).map_err(go)?
                {
                    // What is made in it belongs to the group, too.
                    make_folder(&folder, mode | 0o2000).map_err(go)?;
                }
            }
            Ok(folder)
        }
        VolumeContent::HostPath(source) => host_path::check(source),
    }
}

/// The place of a path inside a volume. What is missing of it is made with the rights of the volume's root.
fn sub_folder(base: &Path, sub_path: &str) -> io::Result<PathBuf> {
    let root = fs::canonicalize(base)?;
    let mode = fs::metadata(&root)?.permissions().mode() & 0o777;
    let mut path = base.to_path_buf();
    for part in sub_path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        path.push(part);
        if fs::metadata(&path).is_err() {
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        // A link inside the volume that leads out of it would show the machine's files.
        if !fs::canonicalize(&path)?.starts_with(&root) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the subPath leads out of the volume",
            ));
        }
    }
    Ok(path)
}

fn make_file(folder: &Path, file: &PodFile) -> io::Result<PathBuf> {
    let path = folder.join(&file.path);
    if file.replace || !path.exists() {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(path)
}

fn end_of_file(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}

#[async_trait]
impl PodFiles for DiskFiles {
    async fn make_volume(&self, uid: &str, volume: VolumeSpec) -> Result<MountSource, Error> {
        let (folders, uid) = (self.folders.clone(), uid.to_owned());
        let made = on_a_thread(move || Ok(make_volume(&folders, &uid, &volume))).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        made.map(MountSource::Path).map_err(Error::Refused)
    }

    async fn sub_path(&self, volume: &Path, sub_path: &str) -> Result<PathBuf, Error> {
        let (volume, sub_path) = (volume.to_path_buf(), sub_path.to_owned());
        let made = on_a_thread(move || sub_folder(&volume, &sub_path)).await;
        made.map_err(|error| Error::Refused(error.to_string()))
    }

    async fn make_files(&self, uid: &str, files: Vec<PodFile>) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folders.pod(uid);
        let made = on_a_thread(move || files.iter().map(|file| make_file(&folder, file)).collect()).await;
        made.map_err(|error| Error::Refused(error.to_string()))
    }

    async fn end_of_file(&self, uid: &str, path: &str, bytes: u64) -> Vec<u8> {
        let path = self.folders.pod(uid).join(path);
        on_a_thread(move || end_of_file(&path, bytes)).await.unwrap_or_default()
    }

    async fn usage(&self, uid: &str, volume: &str, limit: u64) -> Result<u64, Error> {
        let folder = self.folders.volume(uid, volume, false);
        let here = folder.clone();
        match on_a_thread(move || measure::usage(&here, limit)).await {
            Ok(usage) if usage.bytes > limit || !usage.partial => Ok(usage.bytes),
            // A helper reads what this process may not.
            Ok(_) => self.runtime.help(&self.owner, &Job::Measure { folder, limit }).await,
            Err(error) => Err(Error::Refused(format!("cannot measure {}: {error}", folder.display()))),
        }
    }

    async fn pods(&self) -> Vec<String> {
        let folders = self.folders.clone();
        on_a_thread(move || Ok(folders.pods())).await.unwrap_or_default()
    }

    async fn remove(&self, uid: &str) -> Result<(), Error> {
        remove(self.runtime.as_ref(), &self.owner, self.folders.of_pod(uid)).await
    }

    async fn seccomp_profile(&self, path: &str) -> Option<String> {
        let inside = !path.split('/').any(|part| part == "..");
        let path = self.root.join("seccomp").join(path);
        if !inside {
            return None;
        }
        on_a_thread(move || fs::read_to_string(path)).await.ok()
    }

    async fn of_machine(&self) -> MachineFiles {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let all = on_a_thread(move || {
            Ok(MachineFiles {
                hosts: read("/etc/hosts"),
                resolv_conf: read("/etc/resolv.conf"),
                hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
            })
        });
        all.await.unwrap_or_default()
    }
}
