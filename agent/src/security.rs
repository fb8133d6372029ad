//! What a container may do: its security context over the pod's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use crate::runtime::{Seccomp, Security};

/// The user, its group and the further groups that a container runs with; the user is empty for the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `uid`, `uid:gid`, or empty.
    pub user: String,
    /// Further groups.
    pub groups: Vec<i64>,
}

/// The user that a container runs as; or why it must not run, in upstream's words. `image_user` is what its image asks for.
pub fn user(pod: &Pod, container: &Container, image_user: &str) -> Result<User, String> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let run_as_group = own.run_as_group.or(of_pod.run_as_group);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        check_non_root(pod, container, run_as_user, image_user)?;
    }
    let image_name = image_user.split(':').next().unwrap_or_default();
    let user = match (run_as_user, run_as_group) {
        (Some(user), Some(group)) => format!("{user}:{group}"),
        (Some(user), None) => user.to_string(),
        (None, Some(group)) if image_name.is_empty() => format!("0:{group}"),
        (None, Some(group)) => format!("{image_name}:{group}"),
        (None, None) => String::new(),
    };
    let groups = of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group);
    Ok(User { user, groups: groups.collect() })
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image_user: &str,
) -> Result<(), String> {
    let meta = &pod.metadata;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let full = format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid));
    let whose = format!("(pod: {full:?}, container: {})", container.name);
    let name = image_user.split(':').next().unwrap_or_default();
    match user {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy {whose}")),
        Some(_) => Ok(()),
        None if name.is_empty() || name == "0" => {
            Err(format!("container has runAsNonRoot and image will run as root {whose}"))
        }
        None if name.parse::<u32>().is_ok() => Ok(()),
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {whose}"
        )),
    }
}

/// What a container may do. `profile` is the seccomp profile of the node that it asks for, if that could be read.
pub fn rights(pod: &Pod, container: &Container, profile: Option<&str>) -> Security {
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let bare = |name: String| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name);
    let seccomp = match seccomp_profile(pod, container).as_ref().map(|wanted| wanted.type_.as_str()) {
        Some("RuntimeDefault") => Seccomp::RuntimeDefault,
        // A profile that cannot be read must not widen what the container may do.
        Some("Localhost") => {
            profile.map_or(Seccomp::RuntimeDefault, |profile| Seccomp::Profile(profile.to_owned()))
        }
        _ => Seccomp::Unconfined,
    };
    Security {
        privileged: own.privileged == Some(true),
        cap_add: capabilities.add.into_iter().flatten().map(bare).collect(),
        cap_drop: capabilities.drop.into_iter().flatten().map(bare).collect(),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp,
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
    }
}

/// The seccomp profile that a container asks for, itself or by its pod.
pub fn seccomp_profile(pod: &Pod, container: &Container) -> Option<SeccompProfile> {
    let own = container.security_context.as_ref().and_then(|context| context.seccomp_profile.clone());
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    own.or_else(|| of_pod.and_then(|context| context.seccomp_profile.clone()))
}

/// The kernel settings that a pod asks for.
pub fn sysctls(pod: &Pod) -> BTreeMap<String, String> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let wanted = context.and_then(|context| context.sysctls.clone()).unwrap_or_default();
    wanted.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_and_groups() {
        let cases = [
            (json!({}), json!({}), "", Ok(("", vec![]))),
            (json!({"runAsUser": 1000}), json!({}), "", Ok(("1000", vec![]))),
            (
                json!({"runAsUser": 1000, "runAsGroup": 3000}),
                json!({"runAsUser": 1001}),
                "",
                Ok(("1001:3000", vec![])),
            ),
            (
                json!({"supplementalGroups": [4000], "fsGroup": 2000}),
                json!({}),
                "",
                Ok(("", vec![4000, 2000])),
            ),
            (json!({"runAsGroup": 5}), json!({}), "app:app", Ok(("app:5", vec![]))),
            (
                json!({"runAsNonRoot": true}),
                json!({}),
                "",
                Err("container has runAsNonRoot and image will run as root (pod: \"x_ns(u)\", container: c)"),
            ),
            (
                json!({"runAsNonRoot": true}),
                json!({"runAsUser": 0}),
                "",
                Err("container's runAsUser breaks non-root policy (pod: \"x_ns(u)\", container: c)"),
            ),
            (json!({"runAsNonRoot": true}), json!({}), "1000:1000", Ok(("", vec![]))),
            (json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), "", Ok(("", vec![]))),
            (
                json!({"runAsNonRoot": true}),
                json!({}),
                "app",
                Err(
                    "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root \
                     (pod: \"x_ns(u)\", container: c)",
                ),
            ),
        ];
        for (of_pod, own, image, expected) in cases {
            let pod = json!({"metadata": {"name": "x", "namespace": "ns", "uid": "u"},
                             "spec": {"containers": [], "securityContext": of_pod.clone()}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let container = json!({"name": "c", "securityContext": own.clone()});
            let container: Container = serde_json::from_value(container).unwrap();
            let got = user(&pod, &container, image);
            let expected =
                expected.map(|(user, groups)| User { user: user.into(), groups }).map_err(str::to_owned);
            assert_eq!(got, expected, "pod: {of_pod}, container: {own}");
        }
    }
}
