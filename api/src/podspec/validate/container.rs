//! Containers of all three sorts, and what they have in common.

use std::collections::HashSet;

use serde_json::Value;

use super::context::Context;
use super::{env, mounts, probes, resources, security};
use crate::field::{Errors, Field};
use crate::names;
use crate::podspec::resources::is_sidecar;
use crate::validate::rules::{Rule, Rule::*, check};

/// The most rules for restarting one container.
const RESTART_RULES_MAX: usize = 20;
/// The most exit codes in one of them.
const EXIT_CODES_MAX: usize = 255;

const NEEDS_SIDECAR: Rule = Never("may not be set for init containers without restartPolicy=Always");
const NOT_EPHEMERAL: Rule = Never("cannot be set for an Ephemeral Container");

/// The main containers: at least one, each with a name of its own, no two on one port of the host.
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
            check(
                &container,
                &[("*lifecycle *livenessProbe *readinessProbe *startupProbe", NEEDS_SIDECAR)],
                errors,
            );
        }
    }
}

/// Ephemeral containers are for looking into a running pod. They may have no ports, probes or resources that others
/// could rely on.
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
        let fields = "*ports resources? *resizePolicy *restartPolicy *restartPolicyRules *livenessProbe *readinessProbe *startupProbe *lifecycle";
        check(&container, &[(fields, NOT_EPHEMERAL)], errors);
        for mount in container.get("volumeMounts").items() {
            check(&mount, &[("subPath? subPathExpr?", NOT_EPHEMERAL)], errors);
        }
    }
}

fn names_in(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(|c| c.get("name").and_then(Value::as_str))
}

/// What holds for containers of every sort.
fn common(container: &Field, context: &Context, errors: &mut Errors) {
    let table = [
        ("name", NeededName(names::dns_label)),
        ("image", Needed),
        ("terminationMessagePolicy", NeededOneOf("File FallbackToLogsOnError")),
        ("ports", Is(ports)),
    ];
    check(container, &table, errors);
    env::variables(&container.get("env"), context, errors);
    env::sources(&container.get("envFrom"), errors);
    mounts::mounts(container, context, errors);
    mounts::devices(container, context, errors);
    check(container, &[("imagePullPolicy", NeededOneOf("Always IfNotPresent Never"))], errors);
    resources::of_container(&container.get("resources"), context, errors);
    resize_policy(&container.get("resizePolicy"), context, errors);
    security::container_security(&container.get("securityContext"), context.host_users(), errors);
}

fn lifecycle_and_probes(container: &Field, context: &Context, errors: &mut Errors) {
    let grace = context.spec.int("terminationGracePeriodSeconds");
    probes::lifecycle(&container.get("lifecycle"), context, grace, errors);
    check(container, &[("*livenessProbe *readinessProbe *startupProbe", Is(probes::probe))], errors);
}

/// A pod, unlike a template, may not have blanks around an image.
pub fn image_is_trimmed(container: &Field, errors: &mut Errors) {
    let image = container.get("image");
    if image.text().trim() != image.text() {
        errors.wrong(&image, "must not have leading or trailing whitespace");
    }
}

fn restart_policy(container: &Field, errors: &mut Errors) {
    let (policy, restarts) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if policy.is_set() {
        OneOf("Always Never OnFailure").check(&policy, errors);
    } else if !restarts.is_empty() {
        errors.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    if restarts.items().len() > RESTART_RULES_MAX {
        errors.too_long(&restarts, RESTART_RULES_MAX);
    }
    for rule in restarts.items() {
        check(&rule, &[("action", OneOf("Restart RestartAllContainers"))], errors);
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            errors.required(&codes, "must be specified");
            continue;
        }
        check(&codes, &[("operator", OneOf("In NotIn"))], errors);
        if codes.get("values").items().len() > EXIT_CODES_MAX {
            errors.too_long(&codes.get("values"), EXIT_CODES_MAX);
        }
    }
}

fn resize_policy(policies: &Field, context: &Context, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for policy in policies.items() {
        if !seen.insert(policy.str("resourceName")) {
            errors.duplicate(&policy, policy.str("resourceName"));
        }
        // Upstream's paths leave out the index and the fields from here on.
        NeededOneOf("cpu memory").check(&Field::new(policies, policy.raw("resourceName")), errors);
        let restart = Field::new(policies, policy.raw("restartPolicy"));
        NeededOneOf("NotRequired RestartContainer").check(&restart, errors);
        if context.spec.str("restartPolicy") == "Never" && restart.text() != "NotRequired" {
            errors.wrong(&restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
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
        let number = if port.has("containerPort") { Port } else { Needed };
        let table =
            [("containerPort", number), ("hostPort?", Port), ("protocol", NeededOneOf("SCTP TCP UDP"))];
        check(&port, &table, errors);
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

/// With `hostNetwork` a container's port is a port of the host. A template may leave `hostPort` out.
pub fn host_ports(spec: &Field, context: &Context, errors: &mut Errors) {
    spec.each("containers.ports", &mut |port| {
        let host = port.int("hostPort").unwrap_or(0);
        if (context.is_pod || host != 0) && host != port.int("containerPort").unwrap_or(0) {
            errors.invalid(
                &port.get("hostPort"),
                host,
                "must match `containerPort` when `hostNetwork` is true",
            );
        }
    });
}
