//! Where volumes appear inside a container.

use std::collections::HashSet;

use serde_json::Value;

use super::context::Context;
use super::paths::descending_path;
use crate::field::{Errors, Field};
use crate::read::text;
use crate::validate::rules::Rule::*;

/// What the items of a list of mounts or devices say in a field.
fn all<'v>(list: &Field<'_, 'v>, field: &str) -> HashSet<&'v str> {
    list.items().map(|item| item.str(field)).collect()
}

/// `volumeMounts`: directories.
pub fn mounts(container: &Field, context: &Context, errors: &mut Errors) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let (device_names, device_paths) = (all(&devices, "name"), all(&devices, "devicePath"));
    let mut taken = HashSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        let volume = context.mountable(name.text());
        Needed.check(&name, errors);
        if volume.is_none() {
            errors.not_found(&name, name.text());
        }
        Needed.check(&path, errors);
        if !taken.insert(path.text()) {
            errors.wrong(&path, "must be unique");
        }
        if device_names.contains(name.text()) {
            errors.wrong(&name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(path.text()) {
            errors.wrong(&path, "must not already exist as a path in volumeDevices");
        }
        sub_paths(&mounts, &mount, volume, errors);
        propagation(&mounts, &mount, container, errors);
    }
}

/// Upstream's paths leave out the index of the mount in most of these.
fn sub_paths(mounts: &Field, mount: &Field, volume: Option<&Value>, errors: &mut Errors) {
    let given: Vec<Field> =
        mount.among(&["subPath", "subPathExpr"]).filter(|path| !path.is_empty()).collect();
    if volume.is_some_and(|v| v.get("image").is_some_and(|image| !image.is_null())) {
        given.iter().for_each(|path| errors.wrong(path, "not allowed in image volume sources"));
    }
    for path in &given {
        if path.name() == "subPathExpr" && given.len() == 2 {
            errors.wrong(path, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(&Field::new(&mounts.child(path.name()), path.value), errors);
    }
}

fn propagation(mounts: &Field, mount: &Field, container: &Field, errors: &mut Errors) {
    let propagation = Field::new(&mounts.child("mountPropagation"), mount.raw("mountPropagation"));
    if propagation.is_set() {
        OneOf("Bidirectional HostToContainer None").check(&propagation, errors);
        if propagation.text() == "Bidirectional" && !container.get("securityContext").is_true("privileged") {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&propagation, detail);
        }
    }
    let recursive = Field::new(&mounts.child("recursiveReadOnly"), mount.raw("recursiveReadOnly"));
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
        _ => OneOf("Disabled Enabled IfPossible").check(&recursive, errors),
    }
}

/// `volumeDevices`: raw block devices, which only claims can give.
pub fn devices(container: &Field, context: &Context, errors: &mut Errors) {
    let mounts = container.get("volumeMounts");
    let (mount_names, mount_paths) = (all(&mounts, "name"), all(&mounts, "mountPath"));
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        Needed.check(&name, errors);
        if names.contains(name.text()) {
            errors.wrong(&name, "must be unique");
        }
        let of_claim =
            |volume: &Value| !(volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null());
        match context.mountable(name.text()) {
            None => errors.not_found(&name, name.text()),
            Some(volume) if !of_claim(volume) => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.wrong(&name, detail);
            }
            Some(_) => {}
        }
        Needed.check(&path, errors);
        if paths.contains(path.text()) {
            errors.wrong(&path, "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.wrong(&path, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.text());
        }
        if mount_names.contains(name.text()) {
            errors.wrong(&name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path.text()) {
            errors.wrong(&path, "must not already exist as a path in volumeMounts");
        }
        names.extend(Some(text(device.value, "/name")).filter(|name| !name.is_empty()));
    }
}
