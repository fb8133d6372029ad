//! What files a volume holds: ConfigMaps, Secrets, downward API and projections become one list of files. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, Volume, VolumeProjection,
};

use crate::env::{Facts, Lookup, field};
use crate::runtime::{File, Files};

/// A token that a volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// Whom it is for; empty: the API server.
    pub audience: String,
    /// How long it holds.
    pub seconds: i64,
}

/// The error where the API has given no token.
pub const NO_TOKEN: &str = "failed to fetch token";
/// The mode of files where the volume gives none.
const DEFAULT_MODE: i32 = 0o644;

/// The files of a volume that is made of objects; `None` for any other. An error is in upstream's words.
pub fn files(
    pod: &Pod,
    volume: &Volume,
    lookup: &Lookup,
    facts: &Facts,
    tokens: &BTreeMap<TokenRequest, String>,
) -> Option<Result<Files, String>> {
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let optional = source.optional == Some(true);
        return Some(config_map(lookup, &source.name, source.items.as_deref(), mode, optional));
    }
    if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        return Some(secret(lookup, name, source.items.as_deref(), mode, source.optional == Some(true)));
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return Some(downward(pod, source.items.as_deref().unwrap_or_default(), mode, facts));
    }
    let source = volume.projected.as_ref()?;
    Some(projected(pod, source, lookup, facts, tokens))
}

fn projected(
    pod: &Pod,
    source: &ProjectedVolumeSource,
    lookup: &Lookup,
    facts: &Facts,
    tokens: &BTreeMap<TokenRequest, String>,
) -> Result<Files, String> {
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    let mut all = Files::new();
    for one in source.sources.iter().flatten() {
        if let Some(from) = &one.config_map {
            all.extend(config_map(
                lookup,
                &from.name,
                from.items.as_deref(),
                mode,
                from.optional == Some(true),
            )?);
        }
        if let Some(from) = &one.secret {
            all.extend(secret(lookup, &from.name, from.items.as_deref(), mode, from.optional == Some(true))?);
        }
        if let Some(from) = &one.downward_api {
            all.extend(downward(pod, from.items.as_deref().unwrap_or_default(), mode, facts)?);
        }
        if let (Some(from), Some(request)) = (&one.service_account_token, token_request(one)) {
            let token = tokens.get(&request).ok_or(NO_TOKEN)?;
            let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
            let of_group = context.is_some_and(|context| context.fs_group.is_some());
            let mode = if of_group { 0o600 } else { bits(mode) };
            let data = token.clone().into_bytes();
            all.insert(from.path.clone(), File { data, mode, only_for: only_user(pod) });
        }
    }
    Ok(all)
}

/// The tokens that a pod's volumes ask for.
pub fn token_requests(pod: &Pod) -> BTreeSet<TokenRequest> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let projected = volumes.filter_map(|volume| volume.projected.as_ref());
    projected.flat_map(|projected| projected.sources.iter().flatten()).filter_map(token_request).collect()
}

/// The token that a part of a projection asks for.
fn token_request(part: &VolumeProjection) -> Option<TokenRequest> {
    let source = part.service_account_token.as_ref()?;
    Some(TokenRequest {
        audience: source.audience.clone().unwrap_or_default(),
        seconds: source.expiration_seconds.unwrap_or(3600),
    })
}

/// The user that all containers of a pod run as, if it is one.
///
/// Source: `FsUserFrom` in `pkg/volume/util/util.go`.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = crate::spec::containers(spec).map(|(container, _)| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

fn config_map(
    lookup: &Lookup,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, String> {
    let empty = ConfigMap::default();
    let map = match lookup.config_maps.get(name) {
        Some(map) => map,
        None if optional => &empty,
        None => return Err(format!("configmap {name:?} not found")),
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    keyed(text.chain(binary).collect(), items, mode, optional, "configmap")
}

fn secret(
    lookup: &Lookup,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, String> {
    let empty = Secret::default();
    let found = match lookup.secrets.get(name) {
        Some(secret) => secret,
        None if optional => &empty,
        None => return Err(format!("secret {name:?} not found")),
    };
    let data = found.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    keyed(data.collect(), items, mode, optional, "secret")
}

/// All keys as files, or those that the items name.
fn keyed(
    data: BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    what: &str,
) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = data.into_iter().map(|(key, value)| {
            (key.to_owned(), File { data: value.to_vec(), mode: bits(mode), only_for: None })
        });
        return Ok(all.collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => {
                let file =
                    File { data: value.to_vec(), mode: bits(item.mode.unwrap_or(mode)), only_for: None };
                files.insert(item.path.clone(), file);
            }
            None if optional => {}
            None => return Err(format!("references non-existent {} key: {}", words(what), item.key)),
        }
    }
    Ok(files)
}

/// Upstream writes `config key` for a key of a ConfigMap.
fn words(what: &str) -> &str {
    if what == "configmap" { "config" } else { what }
}

fn downward(pod: &Pod, items: &[DownwardAPIVolumeFile], mode: i32, facts: &Facts) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => field::field(pod, &reference.field_path, facts)?,
            (_, Some(selector)) => {
                let name = selector.container_name.as_deref().unwrap_or_default();
                let spec = pod.spec.iter();
                let mut all =
                    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
                let container = all.find(|one| one.name == name);
                field::resource(
                    container.ok_or_else(|| format!("container {name} not found"))?,
                    selector,
                    facts,
                )?
            }
            _ => continue,
        };
        files.insert(
            item.path.clone(),
            File { data: text.into_bytes(), mode: bits(item.mode.unwrap_or(mode)), only_for: None },
        );
    }
    Ok(files)
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0) & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_token_is_for_the_user_that_all_containers_run_as() {
        let as_user = |user: Value| json!({"name": "c", "securityContext": {"runAsUser": user}});
        let plain = || json!({"name": "c"});
        let cases = [
            (json!(null), vec![plain()], None),
            (json!(null), vec![as_user(json!(1000))], Some(1000)),
            (json!(null), vec![as_user(json!(1000)), plain()], None),
            (json!(1000), vec![plain(), as_user(json!(1000))], Some(1000)),
            (json!(1000), vec![plain(), as_user(json!(1001))], None),
        ];
        for (of_pod, containers, expected) in cases {
            let spec = json!({"securityContext": {"runAsUser": of_pod}, "containers": containers});
            let pod: Pod = serde_json::from_value(json!({ "spec": spec.clone() })).unwrap();
            assert_eq!(only_user(&pod), expected, "spec: {spec}");
        }
    }
}
