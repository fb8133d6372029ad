//! Where volumes appear inside a container.

use std::collections::HashSet;

use serde_json::Value;

use super::{Context, volumes};
use crate::field::{Errors, Field};
use crate::validate::rules;

fn values<'a>(list: &'a Value, field: &'a str) -> impl Iterator<Item = &'a str> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(move |item| item.get(field).and_then(Value::as_str).unwrap_or(""))
}

/// `volumeMounts`: directories.
pub fn mounts(container: &Field, context: &Context, errors: &mut Errors) {
    let mounts = container.get("volumeMounts");
    let devices = container.raw("volumeDevices");
    let mut taken = HashSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        let volume = context.volume(name.text());
        rules::required(&name, "", errors);
        if volume.is_none() {
            errors.not_found(&name, name.text());
        }
        rules::required(&path, "", errors);
        if !taken.insert(path.text()) {
            errors.invalid(&path, path.text(), "must be unique");
        }
        if values(devices, "name").any(|device| device == name.text()) {
            errors.invalid(&name, name.text(), "must not already exist in volumeDevices");
        }
        if values(devices, "devicePath").any(|device| device == path.text()) {
            errors.invalid(&path, path.text(), "must not already exist as a path in volumeDevices");
        }
        sub_paths(&mounts, &mount, volume, errors);
        propagation(&mounts, &mount, container, errors);
    }
}

/// Upstream's paths leave out the index of the mount in most of these.
fn sub_paths(mounts: &Field, mount: &Field, volume: Option<&Value>, errors: &mut Errors) {
    let of_image = volume.is_some_and(|v| v.get("image").is_some_and(|image| !image.is_null()));
    for field in ["subPath", "subPathExpr"] {
        if of_image && mount.has(field) {
            errors.invalid(&mount.get(field), mount.str(field), "not allowed in image volume sources");
        }
    }
    for field in ["subPath", "subPathExpr"] {
        if !mount.has(field) {
            continue;
        }
        if field == "subPathExpr" && mount.has("subPath") {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&mount.get(field), mount.str(field), detail);
        }
        volumes::descending_path(&Field::new(&mounts.child(field), mount.raw(field)), errors);
    }
}

fn propagation(mounts: &Field, mount: &Field, container: &Field, errors: &mut Errors) {
    let path = mounts.child("mountPropagation");
    let propagation = Field::new(&path, mount.raw("mountPropagation"));
    if propagation.is_set() {
        rules::one_of(&propagation, &["Bidirectional", "HostToContainer", "None"], errors);
        let privileged = container.get("securityContext").is_true("privileged");
        if propagation.text() == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&propagation, detail);
        }
    }
    let path = mounts.child("recursiveReadOnly");
    let recursive = Field::new(&path, mount.raw("recursiveReadOnly"));
    match recursive.text() {
        _ if !recursive.is_set() => {}
        "Enabled" | "IfPossible" => {
            if !mount.is_true("readOnly") {
                errors.forbidden(&recursive, "may only be specified when readOnly is true");
            }
            if propagation.is_set() && propagation.text() != "None" {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(&recursive, detail);
            }
        }
        _ => rules::one_of(&recursive, &["Disabled", "Enabled", "IfPossible"], errors),
    }
}

/// `volumeDevices`: raw block devices, which only claims can give.
pub fn devices(container: &Field, context: &Context, errors: &mut Errors) {
    let mounts = container.raw("volumeMounts");
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        rules::required(&name, "", errors);
        if names.contains(name.text()) {
            errors.invalid(&name, name.text(), "must be unique");
        }
        let is_claim = |volume: &Value| {
            ["persistentVolumeClaim", "ephemeral"].iter().any(|s| volume.get(s).is_some_and(|v| !v.is_null()))
        };
        match context.volume(name.text()) {
            None => errors.not_found(&name, name.text()),
            Some(volume) if !is_claim(volume) => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&name, name.text(), detail);
            }
            Some(_) => {}
        }
        rules::required(&path, "", errors);
        if paths.contains(path.text()) {
            errors.invalid(&path, path.text(), "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.invalid(&path, path.text(), "can not contain backsteps ('..')");
        } else {
            paths.insert(path.text());
        }
        if values(mounts, "name").any(|mount| mount == name.text()) {
            errors.invalid(&name, name.text(), "must not already exist in volumeMounts");
        }
        if values(mounts, "mountPath").any(|mount| mount == path.text()) {
            errors.invalid(&path, path.text(), "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name.text());
        }
    }
}
