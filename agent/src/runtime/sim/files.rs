//! The files of pods whose containers are simulated: there are none. Nothing is read from the disk or written to it; it is
//! only remembered which pods would have files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::runtime::{Error, MachineFiles, MountSource, PodFile, PodFiles, VolumeContent, VolumeSpec};

/// The uids of pods that have files, by the folder that these would lie in. Shared by all nodes of an engine.
pub(super) type PodsByRoot = Arc<Mutex<BTreeMap<PathBuf, BTreeSet<String>>>>;

/// The files of one node's pods.
pub(super) struct SimFiles {
    pub(super) root: PathBuf,
    pub(super) pods: PodsByRoot,
}

impl SimFiles {
    fn pod(&self, uid: &str) -> PathBuf {
        self.pods.lock().entry(self.root.clone()).or_default().insert(uid.to_owned());
        self.root.join("pods").join(uid)
    }
}

#[async_trait]
impl PodFiles for SimFiles {
    async fn make_volume(&self, uid: &str, volume: VolumeSpec) -> Result<MountSource, Error> {
        Ok(MountSource::Path(match volume.content {
            VolumeContent::HostPath(source) => source.path.into(),
            VolumeContent::Files { .. } | VolumeContent::Folder { .. } => {
                self.pod(uid).join("volumes").join(volume.name)
            }
        }))
    }

    async fn sub_path(&self, _: &str, volume: &Path, sub_path: &str, _: bool) -> Result<MountSource, Error> {
        Ok(MountSource::Path(volume.join(sub_path)))
    }

    async fn make_files(&self, uid: &str, files: Vec<PodFile>) -> Result<Vec<PathBuf>, Error> {
        let folder = self.pod(uid);
        Ok(files.into_iter().map(|file| folder.join(file.path)).collect())
    }

    async fn end_of_file(&self, _: &str, _: &str, _: u64) -> Vec<u8> {
        Vec::new()
    }

    async fn usage(&self, _: &str, _: &str, _: u64) -> Result<u64, Error> {
        Ok(0)
    }

    async fn pods(&self) -> Vec<String> {
        self.pods.lock().get(&self.root).into_iter().flatten().cloned().collect()
    }

    async fn remove(&self, uid: &str) -> Result<(), Error> {
        if let Some(pods) = self.pods.lock().get_mut(&self.root) {
            pods.remove(uid);
        }
        Ok(())
    }

    async fn seccomp_profile(&self, _: &str) -> Option<String> {
        None
    }

    async fn of_machine(&self) -> MachineFiles {
        MachineFiles { hostname: "simulated".into(), ..MachineFiles::default() }
    }
}
