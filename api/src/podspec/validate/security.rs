//! Users, groups, profiles: the security contexts of pods and containers.

use std::collections::HashSet;

use super::paths::descending_path;
use super::windows;
use crate::field::{Errors, Field};
use crate::internal;
use crate::names::{is_digit_or_lower, shaped};
use crate::validate::rules::{Rule, Rule::*, check};

/// The number of a user or a group.
pub(crate) const USER_ID: Rule = Between(0, i32::MAX as i64);
/// The most bytes of the name of a profile on the node: the longest path without its end.
const PROFILE_MAX: usize = 4095;

const SYSCTL_TEXT: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// `spec.securityContext`.
pub fn pod_security(spec: &Field, errors: &mut Errors) {
    let context = spec.get("securityContext");
    check(&context, &[("fsGroup runAsUser runAsGroup supplementalGroups[]", USER_ID)], errors);
    if spec.is_true("shareProcessNamespace") && spec.is_true("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&context.child("shareProcessNamespace"), true, detail);
    }
    sysctls(&context.get("sysctls"), spec, errors);
    let table = [
        ("*fsGroupChangePolicy", OneOf("Always OnRootMismatch")),
        ("*seccompProfile", Is(seccomp)),
        ("windowsOptions", Is(windows::options)),
        ("*appArmorProfile", Is(app_armor)),
        ("*supplementalGroupsPolicy", OneOf("Merge Strict")),
        ("*seLinuxChangePolicy", OneOf("MountOption Recursive")),
    ];
    check(&context, &table, errors);
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
    let segment = |part: &str| shaped(part, is_digit_or_lower, |c| b"-_".contains(&c));
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

/// The settings that belong to the namespace for inter-process communication.
fn is_ipc(name: &str) -> bool {
    ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem"
}

/// `securityContext` of a container.
pub fn container_security(context: &Field, host_users: bool, errors: &mut Errors) {
    check(context, &[("runAsUser runAsGroup", USER_ID), ("*procMount", OneOf("Default Unmasked"))], errors);
    if host_users && context.str("procMount") == "Unmasked" {
        errors.wrong(&context.get("procMount"), "`hostUsers` must be false to use `Unmasked`");
    }
    check(context, &[("*seccompProfile", Is(seccomp))], errors);
    if context.raw("allowPrivilegeEscalation") == false {
        let added = context.get("capabilities");
        let admin =
            added.get("add").items().filter(|capability| capability.text() == "CAP_SYS_ADMIN").count();
        let privileged = Some("`privileged` to true").filter(|_| context.is_true("privileged"));
        for what in privileged.into_iter().chain(vec!["`capabilities.Add` CAP_SYS_ADMIN"; admin]) {
            if errors.is_full() {
                break;
            }
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            errors.invalid(context, internal::show("SecurityContext", context.value), &detail);
        }
    }
    check(context, &[("windowsOptions", Is(windows::options)), ("*appArmorProfile", Is(app_armor))], errors);
}

const PROFILE_TYPES: &str = "Localhost RuntimeDefault Unconfined";

fn seccomp(profile: &Field, errors: &mut Errors) {
    let local = profile.get("localhostProfile");
    let table =
        [("type", NeededFor("type is required when seccompProfile is set")), ("type?", OneOf(PROFILE_TYPES))];
    check(profile, &table, errors);
    match (profile.str("type") == "Localhost", local.is_set()) {
        (true, true) => descending_path(&local, errors),
        (true, false) => errors.required(&local, "must be set when seccomp type is Localhost"),
        (false, true) => {
            let shown = internal::show("SeccompProfile", profile.value);
            errors.invalid(&local, shown, "can only be set when seccomp type is Localhost");
        }
        (false, false) => {}
    }
}

fn app_armor(profile: &Field, errors: &mut Errors) {
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    let text = local.text();
    match kind.text() {
        "Localhost" if text.trim() != text => errors.wrong(&local, "must not be padded with whitespace"),
        "Localhost" if text.is_empty() => {
            errors.required(&local, "must be set when AppArmor type is Localhost")
        }
        "RuntimeDefault" | "Unconfined" if local.is_set() => {
            errors.wrong(&local, "can only be set when AppArmor type is Localhost");
        }
        "" => errors.required(&kind, "type is required when appArmorProfile is set"),
        _ => OneOf(PROFILE_TYPES).check(&kind, errors),
    }
    if kind.text() == "Localhost" && text.len() > PROFILE_MAX {
        errors.too_long(&local, PROFILE_MAX);
    }
}

/// A pod with a user namespace of its own may use no other namespace of the host.
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
