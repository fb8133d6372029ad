//! A pod's volumes, as its spec asks for them: what each is to hold, and how containers mount it. Pure: they are made by the
//! runtime, before the sandbox is, kept up to date while it runs, and removed after it.

mod hosts;
pub mod payload;

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume, VolumeMount};

use crate::env::{Facts, Lookup};
use crate::runtime::{Mount, MountSource, Propagation, VolumeContent, VolumeSpec};
use crate::spec;
pub use hosts::{hosts_file, resolv_conf};
use payload::TokenRequest;

/// A volume that can be mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Where containers mount it from.
    pub source: MountSource,
    /// Whether no container may write to it.
    pub read_only: bool,
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

/// What volumes are made of, beside the pod.
pub struct Ingredients<'a> {
    /// The labels of everything that is made for the pod.
    pub labels: &'a BTreeMap<String, String>,
    /// The objects that it refers to.
    pub lookup: &'a Lookup,
    /// What the node knows of it.
    pub facts: &'a Facts,
    /// The tokens that it mounts.
    pub tokens: &'a BTreeMap<TokenRequest, String>,
    /// The time.
    pub now: Timestamp,
    /// See [`VolumeSpec::turn`].
    pub turn: u64,
}

/// How a volume comes to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The runtime has to make it first.
    Made(VolumeSpec),
    /// The engine makes it together with the first container that mounts it.
    WithContainer(MountSource),
}

/// How a volume of a pod comes to be. An error is in upstream's words.
pub fn origin(pod: &Pod, volume: &Volume, given: &Ingredients<'_>) -> Result<Origin, String> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let group = context.and_then(|context| context.fs_group);
    let made = |content: VolumeContent| {
        let group = group.and_then(|group| u32::try_from(group).ok());
        let (now, turn) = (given.now, given.turn);
        Ok(Origin::Made(VolumeSpec { name: volume.name.clone(), content, group, now, turn }))
    };
    if let Some(files) = payload::files(pod, volume, given.lookup, given.facts, given.tokens) {
        return made(VolumeContent::Files { files: files?, in_memory: volume.config_map.is_none() });
    }
    if let Some(source) = &volume.host_path {
        return made(VolumeContent::HostPath(source.clone()));
    }
    let Some(source) = &volume.empty_dir else {
        return Err("this kind of volume is not supported".into());
    };
    let in_memory = source.medium.as_deref() == Some("Memory");
    let limit = source.size_limit.as_ref().and_then(|limit| limit.0.parse::<Quantity>().ok());
    let (true, Some(limit)) = (in_memory, limit) else {
        return made(VolumeContent::Folder { in_memory });
    };
    let cluster = given.labels.get(crate::labels::CLUSTER).map_or("", String::as_str);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Ok(Origin::WithContainer(MountSource::Memory {
        volume: format!("coracle.{cluster}.{uid}.{}", volume.name),
        labels: given.labels.clone(),
        size: u64::try_from(limit.value()).unwrap_or(0),
        mode: if group.is_some() { 0o3777 } else { 0o1777 },
        group: group.unwrap_or(0),
    }))
}

/// Whether the containers of a pod may only read a volume: one that is made of objects.
pub fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Whether a container of a pod may write to a volume, as far as its mounts say.
pub fn is_written(pod: &Pod, volume: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let beside = spec::ephemeral(spec);
    let all = spec::containers(spec).map(|(container, _)| container).chain(&beside);
    let mut mounts = all.flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.any(|mount| mount.name == volume && mount.read_only != Some(true))
}

/// A pod's `emptyDir`s on disk that may not grow without limit.
pub fn limited(pod: &Pod) -> Vec<LimitedVolume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        // What lies in memory is kept to its limit by the kernel.
        let on_disk = source.medium.as_deref().unwrap_or_default().is_empty();
        let text = source.size_limit.as_ref().filter(|_| on_disk)?.0.clone();
        let limit = u64::try_from(text.parse::<Quantity>().ok()?.value()).ok().filter(|limit| *limit > 0)?;
        Some(LimitedVolume { name: volume.name.clone(), limit, text })
    });
    limited.collect()
}

/// A volume that may not grow without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitedVolume {
    /// Its name.
    pub name: String,
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

/// The mount of a whole volume into a container.
pub fn mount(prepared: &Prepared, mount: &VolumeMount) -> Mount {
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    let read_only = prepared.read_only || mount.read_only == Some(true);
    Mount { source: prepared.source.clone(), target: mount.mount_path.clone(), read_only, propagation }
}

/// Checks that a `subPath` can lie inside a volume; an error is in upstream's words.
pub fn check_sub_path(sub_path: &str) -> Result<(), String> {
    if sub_path.starts_with('/') {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    Ok(())
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
