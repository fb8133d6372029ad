//! What a pod's spec says. The lowest floor of the agent: nothing in it needs any other part.

pub mod hostname;
pub mod node_selector;
pub mod references;
pub mod requests;

use coracle_api::podspec::host_ports::is_sidecar;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// `x_ns(uid)`, as upstream names a pod in texts.
pub fn full_name(pod: &Pod) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// Whether a pod in this phase is over.
pub fn is_terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the others start.
    Init,
    /// Starts before the others and runs beside them.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// Added to a running pod to look into it; nothing depends on it.
    Ephemeral,
}

/// The ephemeral containers of a spec, in the form of the others.
pub fn ephemeral(spec: &PodSpec) -> Vec<Container> {
    let all = spec.ephemeral_containers.iter().flatten();
    let plain = all.filter_map(|one| {
        let mut value = serde_json::to_value(one).ok()?;
        value.as_object_mut()?.shift_remove("targetContainerName");
        serde_json::from_value(value).ok()
    });
    plain.collect()
}

/// A container of any role by its name.
pub fn find(spec: &PodSpec, name: &str) -> Option<(Container, Role)> {
    let found = containers(spec).find(|(container, _)| container.name == name);
    let found = found.map(|(container, role)| (container.clone(), role));
    let of_ephemeral = || ephemeral(spec).into_iter().find(|one| one.name == name);
    found.or_else(|| of_ephemeral().map(|container| (container, Role::Ephemeral)))
}

/// Every container of a spec with its role: init containers and sidecars first, in order.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = (&Container, Role)> {
    let init = spec.init_containers.iter().flatten();
    let init =
        init.map(|container| (container, if is_sidecar(container) { Role::Sidecar } else { Role::Init }));
    init.chain(spec.containers.iter().map(|container| (container, Role::Main)))
}

/// Whether a container that ended with this code is started again: by its own rules, its own policy, or its pod's.
///
/// Source: `ContainerShouldRestart` in `pkg/api/v1/pod/util.go`.
pub fn restarts(spec: &PodSpec, container: &Container, role: Role, code: i64) -> bool {
    let rules = container.restart_policy_rules.iter().flatten();
    let mut codes = rules.filter(|rule| rule.action == "Restart").filter_map(|rule| rule.exit_codes.as_ref());
    let listed = |values: &Option<Vec<i32>>| values.iter().flatten().any(|value| i64::from(*value) == code);
    let by_rule = codes.any(|rule| match rule.operator.as_str() {
        "In" => listed(&rule.values),
        "NotIn" => !listed(&rule.values),
        _ => false,
    });
    let own = container.restart_policy.as_deref().or(spec.restart_policy.as_deref()).unwrap_or("Always");
    match role {
        Role::Ephemeral => false,
        _ if by_rule => true,
        Role::Sidecar => true,
        Role::Init => code != 0 && own != "Never",
        Role::Main => own == "Always" || (own == "OnFailure" && code != 0),
    }
}
