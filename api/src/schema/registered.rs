//! The kinds that upstream's scheme knows, also those that nobody serves: errors tell the two apart.

static REGISTERED: &str = include_str!("../../data/registered.txt");

/// The types that upstream registers in every group version.
///
/// Source: `AddToGroupVersion` in `k8s.io/apimachinery/pkg/apis/meta/v1/register.go`.
const IN_EVERY_VERSION: &[&str] = &[
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// Whether `kind` is a kind of `api_version` to upstream, served or not.
pub fn is_registered(api_version: &str, kind: &str) -> bool {
    let lines = REGISTERED.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(version, _)| *version == api_version)
        .any(|(_, kinds)| IN_EVERY_VERSION.contains(&kind) || kinds.split(' ').any(|known| known == kind))
}

/// The Go package of a group's internal types: `core`, `rbac`.
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        _ => group.split('.').next().unwrap_or(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_and_bygone_kinds_are_registered() {
        assert!(is_registered("v1", "ConfigMap") && is_registered("apps/v1beta1", "Deployment"));
        assert!(
            !is_registered("v1", "configmap")
                && !is_registered("v2", "ConfigMap")
                && !is_registered("apps/v1", "Pod")
        );
        assert!(is_registered("apps/v1", "DeleteOptions") && is_registered("policy/v1", "WatchEvent"));
        assert!(!is_registered("apps/v9", "DeleteOptions"));
        assert_eq!(internal_package("rbac.authorization.k8s.io"), "rbac");
    }
}
