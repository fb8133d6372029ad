//! Which engines an agent can use, and the errors for people who have another one. Pure.

use bollard::models::SystemInfo;

/// How every refusal ends.
const WITHOUT: &str = "Or do without containers: coracle up --runtime sim";

/// Why the engine that `DOCKER_HOST` names cannot be used, if it cannot.
pub fn refusal_of_host(host: &str) -> Option<String> {
    let here = host.is_empty() || host.starts_with("unix://") || host.starts_with('/');
    (!here).then(|| {
        format!(
            "DOCKER_HOST={host} names an engine elsewhere. Pods' volumes are folders of this machine and their probes go \
             to their addresses, so the engine has to be on this machine: run coracle where that engine is, or unset \
             DOCKER_HOST. {WITHOUT}"
        )
    })
}

/// Why an engine cannot be used, by what it says of itself; `None` if it can.
pub fn refusal(info: &SystemInfo) -> Option<String> {
    let is = |text: &Option<String>, sign: &str| text.as_deref().is_some_and(|text| text.contains(sign));
    let rootless = info.security_options.iter().flatten().any(|option| option.contains("rootless"));
    let why = if is(&info.os_type, "windows") {
        "this engine runs Windows containers, and pods are Linux'. Switch it to Linux containers."
    } else if is(&info.operating_system, "Docker Desktop") {
        "Docker Desktop runs containers in a virtual machine, whose networks this machine cannot reach: probes would \
         fail. Use Docker Engine itself (on Linux: docker context use default; elsewhere: run coracle in a Linux machine)."
    } else if rootless {
        "this engine runs without root, in a network of its own that this machine cannot reach: probes would fail. Use an \
         engine that runs as root; you need not be root, the group docker is enough."
    } else {
        return None;
    };
    Some(format!("{why} {WITHOUT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_elsewhere_are_refused_by_their_address() {
        let cases = [
            ("", false),
            ("unix:///var/run/docker.sock", false),
            ("/run/docker.sock", false),
            ("tcp://192.0.2.1:2375", true),
            ("ssh://me@build.example", true),
            ("npipe:////./pipe/docker_engine", true),
        ];
        for (host, refused) in cases {
            let why = refusal_of_host(host);
            assert_eq!(why.is_some(), refused, "DOCKER_HOST={host}: {why:?}");
            assert!(why.is_none_or(|why| why.contains(host) && why.contains("--runtime sim")));
        }
    }

    #[test]
    fn engines_that_cannot_run_pods_are_refused_with_the_reason() {
        let info = |system: &str, kind: &str, options: &[&str]| SystemInfo {
            operating_system: Some(system.into()),
            os_type: Some(kind.into()),
            security_options: Some(options.iter().map(|option| (*option).to_owned()).collect()),
            ..Default::default()
        };
        let cases = [
            (info("Debian GNU/Linux 12", "linux", &["name=seccomp,profile=default"]), None),
            (info("Debian GNU/Linux 12", "linux", &["name=seccomp", "name=rootless"]), Some("without root")),
            (info("Docker Desktop", "linux", &[]), Some("Docker Desktop")),
            (info("Windows Server", "windows", &[]), Some("Windows containers")),
            (SystemInfo::default(), None),
        ];
        for (info, expected) in cases {
            let why = refusal(&info);
            assert_eq!(why.is_some(), expected.is_some(), "{why:?}");
            assert!(expected.is_none_or(|sign| why.unwrap_or_default().contains(sign)), "{expected:?}");
        }
    }
}
