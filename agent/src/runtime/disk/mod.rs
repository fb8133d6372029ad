//! The files of pods whose containers are real: folders of this machine, which containers mount.
//!
//! What holds secrets or tokens lies in memory (`/dev/shm`), never on a disk. All work on files is done on threads of its
//! own: a slow disk must not hold up the pods.

mod atomic;
mod folders;
mod host_path;
mod sub_path;
mod turns;

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{Error, MachineFiles, MountSource, PodFile, PodFiles, Runtime, VolumeContent, VolumeSpec};
use crate::helper::kill::belongs;
use crate::helper::{Job, measure};
use crate::labels::Owner;
use folders::{Folders, in_go_words, make_folder};
use turns::Turns;

/// The files of one node's pods.
pub struct DiskFiles {
    root: PathBuf,
    folders: Folders,
    owner: Owner,
    /// Has done what this process may not do.
    runtime: Arc<dyn Runtime>,
    /// Set once the engine is known to give processes the numbers that they have here.
    numbers: OnceCell<()>,
    turns: Turns,
}

impl DiskFiles {
    /// Opens the folders of a node, or makes them.
    ///
    /// # Errors
    /// A folder that cannot be made, or that is somebody else's.
    pub async fn open(root: &Path, owner: &Owner, runtime: Arc<dyn Runtime>) -> Result<DiskFiles, Error> {
        let name = format!("{}.{}", owner.cluster, owner.node.as_deref().unwrap_or_default());
        let (root, at) = (root.to_path_buf(), root.to_path_buf());
        let folders = on_a_thread(move || {
            let folders = Folders::open(&at, &name)?;
            folders.forget_held();
            Ok(folders)
        });
        let folders = folders.await;
        let folders =
            folders.map_err(|error| Error::Refused(format!("cannot use {}: {error}", root.display())))?;
        Ok(DiskFiles {
            root,
            folders,
            owner: owner.clone(),
            runtime,
            numbers: OnceCell::new(),
            turns: Turns::default(),
        })
    }

    /// Checks that the engine finds what this process holds open: a link to that names the process by its number, which
    /// would be another's where the two are in different namespaces of processes. A container that runs shows it.
    async fn compare_numbers(&self) -> Result<(), Error> {
        let containers = self.runtime.containers(&self.owner).await?;
        let running: Vec<(i64, String)> = containers.into_iter().map(|one| (one.pid, one.id)).collect();
        let same = on_a_thread(move || Ok(running.iter().any(|(pid, id)| belongs(*pid, id)))).await;
        if same.is_ok_and(|same| same) {
            return Ok(());
        }
        let why = "containers may exchange it, and the engine cannot be given an open folder: its processes are not seen here";
        Err(Error::Unsafe(why.into()))
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

/// Where a volume lies.
fn folder_of(folders: &Folders, uid: &str, volume: &VolumeSpec) -> PathBuf {
    match &volume.content {
        VolumeContent::Files { in_memory, .. } | VolumeContent::Folder { in_memory } => {
            folders.volume(uid, &volume.name, *in_memory)
        }
        VolumeContent::HostPath(source) => PathBuf::from(&source.path),
    }
}

/// Makes a volume, or brings it up to date.
fn make_volume(folders: &Folders, uid: &str, volume: &VolumeSpec) -> Result<PathBuf, String> {
    let go = |error: io::Error| in_go_words(&error);
    let folder = folder_of(folders, uid, volume);
    match &volume.content {
        VolumeContent::Files { files, in_memory } => {
            if !folder.is_dir() {
                make_folder(&folder, if *in_memory { 0o1777 } else { 0o777 }).map_err(go)?;
            }
            atomic::write(&folder, files, volume.group, volume.now).map_err(go)?;
            Ok(folder)
        }
        VolumeContent::Folder { in_memory } => {
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
        let writers = self.turns.writers(uid, &volume.name);
        let (folders, uid) = (self.folders.clone(), uid.to_owned());
        let made = on_a_thread(move || {
            Ok(writers.take(volume.turn, |is_latest| match is_latest {
                true => make_volume(&folders, &uid, &volume),
                false => Ok(folder_of(&folders, &uid, &volume)),
            }))
        });
        let made = made.await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        made.map(MountSource::Path).map_err(Error::Refused)
    }

    async fn sub_path(
        &self,
        uid: &str,
        volume: &Path,
        sub_path: &str,
        is_written: bool,
    ) -> Result<MountSource, Error> {
        let (at, inside) = (volume.to_path_buf(), sub_path.to_owned());
        let opened = on_a_thread(move || sub_path::open(&at, &inside)).await;
        let opened = opened.map_err(|error| Error::Refused(error.to_string()))?;
        if !is_written {
            return Ok(MountSource::Path(volume.join(sub_path)));
        }
        let folders = self.folders.held(uid);
        let held = on_a_thread(move || sub_path::hold(opened, &folders)).await;
        let held = held.map_err(|error| {
            Error::Unsafe(format!("containers may exchange it, and it cannot be held: {error}"))
        })?;
        if held.is_folder() {
            self.numbers.get_or_try_init(|| self.compare_numbers()).await?;
        }
        Ok(MountSource::Held(held))
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
        self.turns.forget(uid);
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
