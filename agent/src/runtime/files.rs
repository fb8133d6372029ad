//! The files of a node's pods, as a runtime keeps them. What a volume is to hold comes in; where containers find it comes
//! out. Behind the runtime, because simulated containers need no files at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Error, MountSource};

/// The files of one node's pods. A pod is named by its uid.
#[async_trait]
pub trait PodFiles: Send + Sync + 'static {
    /// Makes a volume of a pod, or brings it up to date. Answers where containers mount it from.
    ///
    /// # Errors
    /// [`Error::Refused`] in upstream's words.
    async fn make_volume(&self, uid: &str, volume: VolumeSpec) -> Result<MountSource, Error>;

    /// A path inside a pod's volume, for a mount. What is missing of it is made. Where containers may write to the volume
    /// it stays the one that was checked until the answer is dropped: they could put another in its place.
    ///
    /// # Errors
    /// It cannot be made, or leads out of the volume. [`Error::Unsafe`]: others could put another in its place.
    async fn sub_path(
        &self,
        uid: &str,
        volume: &Path,
        sub_path: &str,
        is_written: bool,
    ) -> Result<MountSource, Error>;

    /// Makes files that belong to a pod beside its volumes. Answers where they are, in the same order.
    ///
    /// # Errors
    /// The first that cannot be made.
    async fn make_files(&self, uid: &str, files: Vec<PodFile>) -> Result<Vec<PathBuf>, Error>;

    /// The last bytes of one of these files; nothing where it cannot be read.
    async fn end_of_file(&self, uid: &str, path: &str, bytes: u64) -> Vec<u8>;

    /// How many bytes a volume's folder takes on its disk. Stops counting beyond the limit.
    ///
    /// # Errors
    /// It cannot be read.
    async fn usage(&self, uid: &str, volume: &str, limit: u64) -> Result<u64, Error>;

    /// The pods that have files, those that are gone from the API among them.
    async fn pods(&self) -> Vec<String>;

    /// Removes all files of a pod.
    ///
    /// # Errors
    /// What is left, and why.
    async fn remove(&self, uid: &str) -> Result<(), Error>;

    /// A seccomp profile of the node, by its path below the folder of profiles; `None` where it cannot be read.
    async fn seccomp_profile(&self, path: &str) -> Option<String>;

    /// The machine's own files, for pods on its network.
    async fn of_machine(&self) -> MachineFiles;
}

/// A volume that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeSpec {
    /// Its name in the pod.
    pub name: String,
    /// What it holds.
    pub content: VolumeContent,
    /// The group that its files are given to.
    pub group: Option<u32>,
    /// The time, for the name of a folder of new files.
    pub now: Timestamp,
    /// When what it holds began to be read: a later read has a higher number, and what it wrote stays.
    pub turn: u64,
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeContent {
    /// These files and no others. A change replaces all of them at once.
    Files {
        /// The files.
        files: Files,
        /// Whether they must not reach a disk.
        in_memory: bool,
    },
    /// What containers write. Made empty, and then left alone.
    Folder {
        /// Whether it must not reach a disk.
        in_memory: bool,
    },
    /// What is at a path of the machine.
    HostPath(HostPathVolumeSource),
}

/// Files by their path below the volume's root.
pub type Files = BTreeMap<String, File>;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// The only user who is to read it, where this process may give files away.
    pub only_for: Option<u32>,
}

/// A file that belongs to a pod beside its volumes, such as the `/etc/hosts` of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFile {
    /// Its path below the pod's folder.
    pub path: String,
    /// What it holds at first.
    pub text: String,
    /// Its permission bits.
    pub mode: u32,
    /// Whether one that is there is written anew; if not, it stays as containers have left it.
    pub replace: bool,
}

/// What the machine's own files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineFiles {
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The machine's host name.
    pub hostname: String,
}
