//! Users, groups, profiles: the security contexts of pods and containers.

use std::collections::HashSet;

use super::volumes;
use crate::field::{Errors, Field};
use crate::internal;
use crate::validate::rules;

use super::windows;

/// The highest user or group.
const ID_MAX: i64 = i32::MAX as i64;
/// The most bytes of the name of a profile on the node: the longest path without its end.
const PROFILE_MAX: usize = 4095;

const SYSCTL_TEXT: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn ids(context: &Field, names: &[&str], errors: &mut Errors) {
    for name in names {
        rules::in_range(&context.get(name), 0, ID_MAX, errors);
    }
}

/// `spec.securityContext`.
pub fn pod_security(spec: &Field, errors: &mut Errors) {
    let context = spec.get("securityContext");
    ids(&context, &["fsGroup", "runAsUser", "runAsGroup"], errors);
    for group in context.get("supplementalGroups").items() {
        rules::in_range(&group, 0, ID_MAX, errors);
    }
    if spec.is_true("shareProcessNamespace") && spec.is_true("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&context.child("shareProcessNamespace"), true, detail);
    }
    sysctls(&context.get("sysctls"), spec, errors);
    for policy in context.among(&["fsGroupChangePolicy"]) {
        rules::one_of(&policy, &["Always", "OnRootMismatch"], errors);
    }
    seccomp(&context.get("seccompProfile"), errors);
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    for policy in context.among(&["supplementalGroupsPolicy"]) {
        rules::one_of(&policy, &["Merge", "Strict"], errors);
    }
    for policy in context.among(&["seLinuxChangePolicy"]) {
        rules::one_of(&policy, &["MountOption", "Recursive"], errors);
    }
}

fn sysctls(sysctls: &Field, spec: &Field, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.get("name");
        let text = name.text();
        if text.is_empty() {
            errors.required(&name, "");
        } else if !is_sysctl(text) {
            errors.invalid(&name, text, SYSCTL_TEXT);
        } else if taken.contains(text) {
            errors.duplicate(&name, text);
        }
        taken.insert(text);
        let dotted = text.replace('/', ".");
        if spec.is_true("hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&name, text, "may not be specified when 'hostNetwork' is true");
        } else if spec.is_true("hostIPC") && is_ipc(&dotted) {
            errors.invalid(&name, text, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let segment = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().zip(bytes.last()).is_some_and(|(a, b)| edge(*a) && edge(*b))
            && bytes.iter().all(|c| edge(*c) || b"-_".contains(c))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

/// The settings that belong to the namespace for inter-process communication.
fn is_ipc(name: &str) -> bool {
    ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem"
}

/// `securityContext` of a container.
pub fn container_security(context: &Field, host_users: bool, errors: &mut Errors) {
    if !context.is_set() {
        return;
    }
    ids(context, &["runAsUser", "runAsGroup"], errors);
    for mount in context.among(&["procMount"]) {
        rules::one_of(&mount, &["Default", "Unmasked"], errors);
        if host_users && mount.text() == "Unmasked" {
            errors.invalid(&mount, "Unmasked", "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(&context.get("seccompProfile"), errors);
    if context.raw("allowPrivilegeEscalation") == false {
        let contradiction = |what: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            (internal::show("SecurityContext", context.value), detail)
        };
        if context.is_true("privileged") {
            let (value, detail) = contradiction("`privileged` to true");
            errors.invalid(context, value, &detail);
        }
        for capability in context.get("capabilities").get("add").items() {
            if capability.text() == "CAP_SYS_ADMIN" {
                let (value, detail) = contradiction("`capabilities.Add` CAP_SYS_ADMIN");
                errors.invalid(context, value, &detail);
            }
        }
    }
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
}

fn seccomp(profile: &Field, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    if kind.is_empty() {
        errors.required(&kind, "type is required when seccompProfile is set");
    } else {
        rules::one_of(&kind, &["Localhost", "RuntimeDefault", "Unconfined"], errors);
    }
    if kind.text() == "Localhost" {
        if local.is_set() {
            volumes::descending_path(&local, errors);
        } else {
            errors.required(&local, "must be set when seccomp type is Localhost");
        }
    } else if local.is_set() {
        let shown = internal::show("SeccompProfile", profile.value);
        errors.invalid(&local, shown, "can only be set when seccomp type is Localhost");
    }
}

fn app_armor(profile: &Field, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    let text = local.text();
    match kind.text() {
        "Localhost" if text.trim() != text => {
            errors.invalid(&local, text, "must not be padded with whitespace");
        }
        "Localhost" if text.is_empty() => {
            errors.required(&local, "must be set when AppArmor type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" if local.is_set() => {
            errors.invalid(&local, text, "can only be set when AppArmor type is Localhost");
        }
        "" => errors.required(&kind, "type is required when appArmorProfile is set"),
        _ => rules::one_of(&kind, &["Localhost", "RuntimeDefault", "Unconfined"], errors),
    }
    if kind.text() == "Localhost" && text.len() > PROFILE_MAX {
        errors.too_long(&local, PROFILE_MAX);
    }
}

/// Users of its own leave a pod none of the host's namespaces.
pub fn host_users(spec: &Field, errors: &mut Errors) {
    if spec.raw("hostUsers") != false {
        return;
    }
    // Two of upstream's paths are in Go's spelling.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.is_true(field) {
            errors.forbidden(&spec.child(shown), "when `hostUsers` is false");
        }
    }
}
