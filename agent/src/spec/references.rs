//! Which ConfigMaps and Secrets a pod refers to.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::{containers, ephemeral};

/// The names of the ConfigMaps and Secrets that a pod refers to.
pub fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let mut maps = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    let Some(spec) = &pod.spec else { return (Vec::new(), Vec::new()) };
    let of_ephemeral = ephemeral(spec);
    for container in containers(spec).map(|(container, _)| container).chain(&of_ephemeral) {
        for source in container.env_from.iter().flatten() {
            maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
            secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
            secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        for part in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
            maps.extend(part.config_map.iter().map(|source| source.name.clone()));
            secrets.extend(part.secret.iter().map(|source| source.name.clone()));
        }
    }
    (maps.into_iter().collect(), secrets.into_iter().collect())
}
