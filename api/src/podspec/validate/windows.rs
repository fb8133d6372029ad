//! The operating system that a pod is for, and what only makes sense on Windows, or not there.

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names::{self, shaped};
use crate::podspec::visit_containers;
use crate::validate::rules::{Rule, Rule::*, check};

/// The most bytes of a credential specification.
const CREDENTIALS_MAX: usize = 64 * 1024;
/// The length that a user's domain must stay under.
const DOMAIN_MAX: usize = 256;
/// The most characters of a user's name.
const USER_MAX: usize = 104;

const NOT_ON_LINUX: Rule = Never("windows options cannot be set for a linux pod");
const NOT_ON_WINDOWS: Rule = Never("cannot be set for a windows pod");

/// `windowsOptions` of a pod or a container.
pub fn options(options: &Field, errors: &mut Errors) {
    check(options, &[("*gmsaCredentialSpecName", Name(names::dns_subdomain))], errors);
    for specification in options.among(&["gmsaCredentialSpec"]) {
        match specification.text().len() {
            0 => errors.wrong(&specification, "gmsaCredentialSpec cannot be an empty string"),
            1..=CREDENTIALS_MAX => {}
            _ => errors.wrong(&specification, "gmsaCredentialSpec size must be under 64 KiB"),
        }
    }
    for user in options.among(&["runAsUserName"]) {
        errors.all_invalid(&user, user.text(), user_problems(user.text()));
    }
}

/// What a user's name cannot hold.
const BARRED: &str = "\"/\\:;|=,+*?<>@[]";

fn user_problems(text: &str) -> Vec<String> {
    let one = |problem: &str| vec![format!("runAsUserName {problem}")];
    if text.is_empty() {
        return one("cannot be an empty string");
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return one("cannot contain control characters");
    }
    let (domain, user) = match text.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("cannot contain more than one backslash"),
    };
    let dots_and_blanks = !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ');
    let checks = [
        (domain.is_some_and(|d| d.len() >= DOMAIN_MAX), "Domain length must be under 256 characters"),
        (
            domain.is_some_and(|d| !is_netbios(d) && !is_dns(d)),
            "Domain doesn't match the NetBios nor the DNS format",
        ),
        (user.is_empty(), "User cannot be empty"),
        (user.len() > USER_MAX, "User length must not be longer than 104 characters"),
        (dots_and_blanks, "User cannot contain only periods or spaces"),
        (
            user.contains(|c| BARRED.contains(c)),
            "User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
        ),
    ];
    let wrong = checks.iter().filter(|(wrong, _)| *wrong);
    wrong.map(|(_, problem)| format!("runAsUserName's {problem}")).collect()
}

fn is_netbios(domain: &str) -> bool {
    let barred = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&domain.chars().count()) && !domain.contains(barred) && !domain.starts_with('.')
}

fn is_dns(domain: &str) -> bool {
    let label =
        |label: &str| label.len() <= 63 && shaped(label, |c| c.is_ascii_alphanumeric(), |c| c == b'-');
    domain.split('.').all(label)
}

/// `hostProcess`: all containers of a pod or none of them, and only on the host's network.
pub fn host_process(spec: &Field, errors: &mut Errors) {
    let chosen = |owner: &Field| {
        owner.value.pointer("/securityContext/windowsOptions/hostProcess").and_then(Value::as_bool)
    };
    let of_pod = chosen(spec);
    let (mut all, mut on_host) = (0, 0);
    visit_containers(spec, |container| {
        let own = chosen(container);
        all += 1;
        on_host += usize::from(own.or(of_pod) == Some(true));
        if let Some((pod, own)) = of_pod.zip(own).filter(|(pod, own)| pod != own) {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            let context = container.child("securityContext");
            errors.invalid(&context.child("windowsOptions").child("hostProcess"), own, &detail);
        }
    });
    if on_host == 0 {
        return;
    }
    if on_host != all {
        let detail =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(spec, "", detail);
    }
    if !spec.is_true("hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&spec.get("hostNetwork"), false, detail);
    }
}

/// `os`, and what the other system's pods may not ask for.
pub fn operating_system(spec: &Field, errors: &mut Errors) {
    let os = spec.get("os");
    match os.str("name") {
        _ if !os.is_set() => {}
        "" => errors.required(&os.get("name"), "cannot be empty"),
        "linux" => for_linux(spec, errors),
        "windows" => for_windows(spec, errors),
        other => errors.not_supported(&os, other, "linux windows"),
    }
}

fn for_linux(spec: &Field, errors: &mut Errors) {
    let mut refuse =
        |owner: &Field| check(&owner.get("securityContext"), &[("*windowsOptions", NOT_ON_LINUX)], errors);
    refuse(spec);
    visit_containers(spec, refuse);
}

fn for_windows(spec: &Field, errors: &mut Errors) {
    let context = spec.get("securityContext");
    check(&context, &[("*appArmorProfile *seLinuxOptions", NOT_ON_WINDOWS)], errors);
    check(spec, &[("*hostUsers hostPID? hostIPC?", NOT_ON_WINDOWS)], errors);
    check(&context, &[("*seccompProfile *fsGroup *fsGroupChangePolicy sysctls?", NOT_ON_WINDOWS)], errors);
    check(spec, &[("*shareProcessNamespace", NOT_ON_WINDOWS)], errors);
    let users = "*runAsUser *runAsGroup *supplementalGroups *supplementalGroupsPolicy *seLinuxChangePolicy";
    check(&context, &[(users, NOT_ON_WINDOWS)], errors);
    let own = "*appArmorProfile *seLinuxOptions *seccompProfile *capabilities *readOnlyRootFilesystem *privileged \
        *allowPrivilegeEscalation *procMount *runAsUser *runAsGroup";
    visit_containers(spec, |container| {
        check(&container.get("securityContext"), &[(own, NOT_ON_WINDOWS)], errors);
    });
}
