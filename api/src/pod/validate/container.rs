//! Containers of all three sorts, and what they have in common.

use std::collections::HashSet;

use serde_json::Value;

use super::{Context, env, mounts, one_of_or_required, probes, resources, security};
use crate::field::{Errors, Fault, Field};
use crate::names;
use crate::pod::resources::is_sidecar;
use crate::validate::rules;

/// The most rules for restarting one container.
const RESTART_RULES_MAX: usize = 20;
/// The most exit codes in one of them.
const EXIT_CODES_MAX: usize = 255;

const NEEDS_SIDECAR: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// The main containers: at least one, each called otherwise, no two on one port of the host.
pub fn containers(containers: &Field, context: &Context, errors: &mut Errors) {
    if containers.is_empty() {
        return errors.required(containers, "");
    }
    let mut taken = HashSet::new();
    for container in containers.items() {
        common(&container, context, errors);
        if !taken.insert(container.str("name")) {
            errors.duplicate(&container.get("name"), container.str("name"));
        }
        lifecycle_and_probes(&container, context, errors);
        restart_policy(&container, errors);
    }
    unique_host_ports(containers.items(), errors);
}

/// Init containers run one by one, so their ports only clash within one of them. Those that stay (sidecars) may
/// be probed as the main ones are.
pub fn init_containers(containers: &Field, context: &Context, errors: &mut Errors) {
    let mut taken: HashSet<&str> = names_in(context.spec.raw("containers")).collect();
    for container in containers.items() {
        common(&container, context, errors);
        restart_policy(&container, errors);
        let name = container.str("name");
        if !name.is_empty() && !taken.insert(name) {
            errors.duplicate(&container.get("name"), name);
        }
        unique_host_ports(std::iter::once(Field::new(&containers.index(0), container.value)), errors);
        if is_sidecar(container.value) {
            lifecycle_and_probes(&container, context, errors);
        } else {
            for field in container.among(&["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"]) {
                errors.forbidden(&field, NEEDS_SIDECAR);
            }
        }
    }
}

/// Ephemeral containers only look on: nothing that others could rely upon.
pub fn ephemeral_containers(containers: &Field, context: &Context, errors: &mut Errors) {
    let lists = ["containers", "initContainers"];
    let targets: HashSet<&str> = lists.iter().flat_map(|list| names_in(context.spec.raw(list))).collect();
    let mut taken = targets.clone();
    for container in containers.items() {
        common(&container, context, errors);
        image_is_trimmed(&container, errors);
        if !taken.insert(container.str("name")) {
            errors.duplicate(&container.get("name"), container.str("name"));
        }
        let target = container.str("targetContainerName");
        if !target.is_empty() && !targets.contains(target) {
            errors.not_found(&container.get("targetContainerName"), target);
        }
        for field in ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules"] {
            if container.has(field) {
                errors.forbidden(&container.get(field), NOT_EPHEMERAL);
            }
        }
        for field in container.among(&["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"]) {
            errors.forbidden(&field, NOT_EPHEMERAL);
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if mount.has(field) {
                    errors.forbidden(&mount.get(field), NOT_EPHEMERAL);
                }
            }
        }
    }
}

fn names_in(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(|c| c.get("name").and_then(Value::as_str))
}

/// What holds for containers of every sort.
fn common(container: &Field, context: &Context, errors: &mut Errors) {
    rules::required_name(&container.get("name"), names::dns_label, errors);
    rules::required(&container.get("image"), "", errors);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of_or_required(&container.get("terminationMessagePolicy"), &policies, errors);
    ports(&container.get("ports"), errors);
    env::variables(&container.get("env"), context, errors);
    env::sources(&container.get("envFrom"), errors);
    mounts::mounts(container, context, errors);
    mounts::devices(container, context, errors);
    one_of_or_required(&container.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"], errors);
    resources::of_container(&container.get("resources"), context, errors);
    resize_policy(&container.get("resizePolicy"), context, errors);
    security::container_security(&container.get("securityContext"), context.host_users(), errors);
}

fn lifecycle_and_probes(container: &Field, context: &Context, errors: &mut Errors) {
    let grace = context.spec.int("terminationGracePeriodSeconds");
    probes::lifecycle(&container.get("lifecycle"), context, grace, errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probes::probe(&container.get(probe), probe, errors);
    }
}

/// A pod, unlike a template, may not have blanks around an image.
pub fn image_is_trimmed(container: &Field, errors: &mut Errors) {
    let image = container.get("image");
    if image.text().trim() != image.text() {
        errors.invalid(&image, image.text(), "must not have leading or trailing whitespace");
    }
}

fn restart_policy(container: &Field, errors: &mut Errors) {
    let (policy, restarts) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if policy.is_set() {
        rules::one_of(&policy, &["Always", "Never", "OnFailure"], errors);
    } else if !restarts.is_empty() {
        errors.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    if restarts.items().len() > RESTART_RULES_MAX {
        errors.too_long(&restarts, RESTART_RULES_MAX);
    }
    for rule in restarts.items() {
        rules::one_of(&rule.get("action"), &["Restart", "RestartAllContainers"], errors);
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            errors.required(&codes, "must be specified");
            continue;
        }
        rules::one_of(&codes.get("operator"), &["In", "NotIn"], errors);
        if codes.get("values").items().len() > EXIT_CODES_MAX {
            errors.too_long(&codes.get("values"), EXIT_CODES_MAX);
        }
    }
}

fn resize_policy(policies: &Field, context: &Context, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for policy in policies.items() {
        let resource = policy.str("resourceName");
        if !seen.insert(resource) {
            errors.duplicate(&policy, resource);
        }
        // Upstream's paths leave out the index from here on.
        let checks =
            [("resourceName", ["cpu", "memory"]), ("restartPolicy", ["NotRequired", "RestartContainer"])];
        for (field, allowed) in checks {
            one_of_or_required(&Field::new(policies, policy.raw(field)), &allowed, errors);
        }
        let restart = policy.str("restartPolicy");
        if context.spec.str("restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(policies, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// Ports of one container: numbers in range, each name once.
fn ports(ports: &Field, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let problems = names::port_name(name.text());
            if problems.is_empty() && !taken.insert(name.text()) {
                errors.duplicate(&name, name.text());
            }
            errors.all_invalid(&name, name.text(), problems);
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.required(&port.get("containerPort"), ""),
            _ => rules::port_number(&port.get("containerPort"), errors),
        }
        if port.has("hostPort") {
            rules::port_number(&port.get("hostPort"), errors);
        }
        one_of_or_required(&port.get("protocol"), &["SCTP", "TCP", "UDP"], errors);
    }
}

fn unique_host_ports<'p, 'v>(containers: impl Iterator<Item = Field<'p, 'v>>, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for container in containers {
        for port in container.get("ports").items().filter(|port| port.has("hostPort")) {
            let number = port.int("hostPort").unwrap_or(0);
            let claim = format!("{}/{}/{number}", port.str("protocol"), port.str("hostIP"));
            if !taken.insert(claim.clone()) {
                errors.duplicate(&port.get("hostPort"), claim);
            }
        }
    }
}

/// On the host's network a port is the host's own. A template may leave it open.
pub fn host_ports(containers: &Field, context: &Context, errors: &mut Errors) {
    for container in containers.items() {
        for port in container.get("ports").items() {
            let host = port.int("hostPort").unwrap_or(0);
            if (context.is_pod || host != 0) && host != port.int("containerPort").unwrap_or(0) {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.other(
                    &port.get("hostPort"),
                    Fault::Invalid,
                    format!("Invalid value: {host}: {detail}"),
                );
            }
        }
    }
}
