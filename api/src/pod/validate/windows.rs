//! The operating system that a pod is for, and what only makes sense on Windows, or not there.

use super::visit_containers;
use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules;

/// The most bytes of a credential specification.
const CREDENTIALS_MAX: usize = 64 * 1024;
/// The length that a user's domain must stay under.
const DOMAIN_MAX: usize = 256;
/// The most characters of a user's name.
const USER_MAX: usize = 104;

const NOT_ON_LINUX: &str = "windows options cannot be set for a linux pod";
const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";

/// `windowsOptions` of a pod or a container.
pub fn options(options: &Field, errors: &mut Errors) {
    let specification = options.get("gmsaCredentialSpec");
    for name in options.among(&["gmsaCredentialSpecName"]) {
        rules::follows(&name, names::dns_subdomain, errors);
    }
    if specification.is_set() {
        let text = specification.text();
        if text.is_empty() {
            errors.invalid(&specification, text, "gmsaCredentialSpec cannot be an empty string");
        } else if text.len() > CREDENTIALS_MAX {
            errors.invalid(&specification, text, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    for user in options.among(&["runAsUserName"]) {
        errors.all_invalid(&user, user.text(), user_problems(user.text()));
    }
}

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
            user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']),
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
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    domain.split('.').all(|label| {
        label.len() <= 63
            && edge(label.chars().next())
            && edge(label.chars().last())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

/// Containers that are processes of the host are all or none, and live on its network.
pub fn host_process(spec: &Field, errors: &mut Errors) {
    let chosen = |owner: &Field| {
        let options = owner.raw("securityContext").get("windowsOptions");
        options.and_then(|options| options.get("hostProcess")).and_then(serde_json::Value::as_bool)
    };
    let of_pod = chosen(spec);
    let (mut all, mut on_host) = (0, 0);
    visit_containers(spec, |container| {
        let own = chosen(container);
        all += 1;
        on_host += usize::from(own.or(of_pod) == Some(true));
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            let context = container.child("securityContext");
            let options = context.child("windowsOptions");
            errors.invalid(&options.child("hostProcess"), own, &detail);
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
        other => errors.not_supported(&os, other, &["linux", "windows"]),
    }
}

fn for_linux(spec: &Field, errors: &mut Errors) {
    let mut refuse = |owner: &Field| {
        for options in owner.get("securityContext").among(&["windowsOptions"]) {
            errors.forbidden(&options, NOT_ON_LINUX);
        }
    };
    refuse(spec);
    visit_containers(spec, refuse);
}

fn for_windows(spec: &Field, errors: &mut Errors) {
    let context = spec.get("securityContext");
    let refuse = |owner: &Field, names: &[&str], errors: &mut Errors| {
        for field in owner.among(names) {
            if !(field.is_empty() && ["hostPID", "hostIPC", "sysctls"].contains(&field.path().name())) {
                errors.forbidden(&field, NOT_ON_WINDOWS);
            }
        }
    };
    refuse(&context, &["appArmorProfile", "seLinuxOptions"], errors);
    refuse(spec, &["hostUsers", "hostPID", "hostIPC"], errors);
    refuse(&context, &["seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"], errors);
    refuse(spec, &["shareProcessNamespace"], errors);
    let users =
        ["runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"];
    refuse(&context, &users, errors);
    visit_containers(spec, |container| {
        let names = [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ];
        refuse(&container.get("securityContext"), &names, errors);
    });
}
