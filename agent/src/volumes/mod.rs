//! A pod's volumes: made before its sandbox, kept up to date while it runs, removed after it.
//!
//! What holds secrets or tokens lies in memory (`/dev/shm`), never on a disk.

mod atomic;
mod hosts;
pub mod payload;
mod places;
pub mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use coracle_api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume, VolumeMount};

use crate::env::{Facts, Lookup};
use crate::runtime::{Mount, MountSource, Propagation};
pub use hosts::{hosts_file, resolv_conf};
use payload::TokenRequest;
pub use places::{Places, folders, remove, remove_all};

/// A volume that can be mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    source: MountSource,
    read_only: bool,
}

/// Why a volume cannot be mounted yet, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
pub struct NotMounted {
    /// Its name.
    pub volume: String,
    /// What is wrong.
    pub reason: String,
}

/// Makes every volume of a pod, or brings it up to date.
pub fn prepare(
    places: &Places,
    pod: &Pod,
    labels: &BTreeMap<String, String>,
    lookup: &Lookup,
    facts: &Facts,
    tokens: &BTreeMap<TokenRequest, String>,
    now: Timestamp,
) -> Result<BTreeMap<String, Prepared>, NotMounted> {
    let mut prepared = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let failed = |reason: String| NotMounted { volume: volume.name.clone(), reason };
        let made = one(places, pod, volume, labels, lookup, facts, tokens, now).map_err(failed)?;
        prepared.insert(volume.name.clone(), made);
    }
    Ok(prepared)
}

#[allow(clippy::too_many_arguments)] // the same seven facts as `prepare`, for one volume
fn one(
    places: &Places,
    pod: &Pod,
    volume: &Volume,
    labels: &BTreeMap<String, String>,
    lookup: &Lookup,
    facts: &Facts,
    tokens: &BTreeMap<TokenRequest, String>,
    now: Timestamp,
) -> Result<Prepared, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let group = context.and_then(|context| context.fs_group);
    let group_id = group.and_then(|group| u32::try_from(group).ok());
    if let Some(files) = payload::files(pod, volume, lookup, facts, tokens) {
        let files = files?;
        let in_memory = volume.config_map.is_none();
        let base = if in_memory { places.pod_memory(uid) } else { places.pod(uid) };
        let folder = base.join("volumes").join(&volume.name);
        if !folder.is_dir() {
            make_root(&folder, if in_memory { 0o1777 } else { 0o777 }).map_err(words)?;
        }
        atomic::write(&folder, &files, group_id, now).map_err(words)?;
        return Ok(Prepared { source: MountSource::Path(folder), read_only: true });
    }
    if let Some(source) = &volume.host_path {
        let path = host_path(source)?;
        return Ok(Prepared { source: MountSource::Path(path), read_only: false });
    }
    if let Some(source) = &volume.empty_dir {
        let in_memory = source.medium.as_deref() == Some("Memory");
        let limit = source.size_limit.as_ref().and_then(|limit| limit.0.parse::<Quantity>().ok());
        if let (true, Some(limit)) = (in_memory, limit) {
            let volume = format!("coracle.{}.{uid}.{}", labels_cluster(labels), volume.name);
            let size = u64::try_from(limit.value()).unwrap_or(0);
            let mode = if group.is_some() { 0o3777 } else { 0o1777 };
            let labels = labels.clone();
            let source = MountSource::Memory { volume, labels, size, mode, group: group.unwrap_or(0) };
            return Ok(Prepared { source, read_only: false });
        }
        let base = if in_memory { places.pod_memory(uid) } else { places.pod(uid) };
        let folder = base.join("volumes").join(&volume.name);
        if !folder.is_dir() {
            let mode = if in_memory { 0o1777 } else { 0o777 };
            make_root(&folder, mode).map_err(words)?;
            if let Some(group) = group_id
                && atomic::give_root(&folder, group).map_err(words)?
            {
                make_root(&folder, mode | 0o2000).map_err(words)?;
            }
        }
        return Ok(Prepared { source: MountSource::Path(folder), read_only: false });
    }
    Err("this kind of volume is not supported".into())
}

/// A pod's `emptyDir`s on disk that may not grow without limit.
pub fn limited(places: &Places, pod: &Pod) -> Vec<LimitedVolume> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        // What lies in memory is kept to its limit by the kernel.
        let on_disk = source.medium.as_deref().unwrap_or_default().is_empty();
        let text = source.size_limit.as_ref().filter(|_| on_disk)?.0.clone();
        let limit = u64::try_from(text.parse::<Quantity>().ok()?.value()).ok().filter(|limit| *limit > 0)?;
        let folder = places.pod(uid).join("volumes").join(&volume.name);
        Some(LimitedVolume { name: volume.name.clone(), folder, limit, text })
    });
    limited.collect()
}

/// A volume that may not grow without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedVolume {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// Bytes.
    pub limit: u64,
    /// The limit as the pod says it.
    pub text: String,
}

impl LimitedVolume {
    /// Why its pod is evicted, in upstream's words.
    pub fn exceeded(&self) -> String {
        format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", self.name, self.text)
    }
}

fn labels_cluster(labels: &BTreeMap<String, String>) -> &str {
    labels.get(crate::labels::CLUSTER).map_or("", String::as_str)
}

/// An error of the system in Go's words: in small letters and without its number.
fn words(error: io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn make_root(folder: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

/// Checks what a `hostPath` says its path is, and makes what it says to make.
fn host_path(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let found = fs::metadata(&path).ok().map(|meta| meta.file_type());
    let check = |right: bool, what: &str| {
        if right { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", source.path)) }
    };
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => {
            if found.is_none() {
                make_root(&path, 0o755)
                    .map_err(|error| format!("mkdir {}: {}", source.path, words(error)))?;
            }
            check(path.is_dir(), "a directory")?;
        }
        "Directory" => check(found.is_some_and(|found| found.is_dir()), "a directory")?,
        "FileOrCreate" => {
            if found.is_none() {
                fs::write(&path, b"").map_err(|error| format!("open {}: {}", source.path, words(error)))?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(words)?;
            }
            check(path.is_file(), "a file")?;
        }
        "File" => check(found.is_some_and(|found| found.is_file()), "a file")?,
        "Socket" => check(found.is_some_and(|found| found.is_socket()), "a socket file")?,
        "CharDevice" => check(found.is_some_and(|found| found.is_char_device()), "a character device")?,
        "BlockDevice" => check(found.is_some_and(|found| found.is_block_device()), "a block device")?,
        // Not said: a folder is made, as container engines do.
        _ => {
            if found.is_none() {
                make_root(&path, 0o755).map_err(words)?;
            }
        }
    }
    Ok(path)
}

/// The mount of a prepared volume into a container. `sub_path` is the mount's own, with its variables filled in. Errors
/// are in upstream's words.
pub fn mount(
    prepared: &Prepared,
    mount: &VolumeMount,
    container: &str,
    sub_path: &str,
) -> Result<Mount, String> {
    let mut source = prepared.source.clone();
    if !sub_path.is_empty() {
        if sub_path.starts_with('/') {
            return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
        }
        if sub_path.split('/').any(|part| part == "..") {
            return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
        }
        match &mut source {
            MountSource::Path(base) => {
                *base = sub_folder(base, sub_path).map_err(|error| {
                    tracing::info!(volume = mount.name, container, %error, "cannot prepare a subPath");
                    format!(
                        "failed to prepare subPath for volumeMount {:?} of container {container:?}",
                        mount.name
                    )
                })?;
            }
            MountSource::Memory { .. } => {
                return Err(format!(
                    "volume {:?} with a size limit in memory cannot have a subPath",
                    mount.name
                ));
            }
        }
    }
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    let read_only = prepared.read_only || mount.read_only == Some(true);
    Ok(Mount { source, target: mount.mount_path.clone(), read_only, propagation })
}

/// The place of a sub-path; what is missing of it is made with the rights of the volume's root.
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

/// The memory volumes of a pod: its sandbox holds them, so that they outlive the restart of a container.
pub fn held_by_sandbox(prepared: &BTreeMap<String, Prepared>) -> Vec<Mount> {
    let held = prepared.iter().filter(|(_, prepared)| matches!(prepared.source, MountSource::Memory { .. }));
    let mounts = held.map(|(name, prepared)| Mount {
        source: prepared.source.clone(),
        target: format!("/volumes/{name}"),
        read_only: false,
        propagation: Propagation::Private,
    });
    mounts.collect()
}
