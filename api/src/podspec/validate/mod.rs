//! The rules for a pod spec, one file a part, each in upstream's order.
//!
//! ```text
//! validate_pod ----------.
//! validate_pod_template --> spec -> volumes, containers -> env, mounts, probes, resources, security
//!                                -> scheduling (affinity, spread, tolerations), dns, security
//! ```
//!
//! Source: `pkg/apis/core/validation/validation.go`.

mod annotations;
mod container;
mod context;
mod downward;
mod env;
mod mounts;
mod names;
mod paths;
mod probes;
mod resources;
mod scheduling;
mod security;
#[cfg(test)]
mod tests;
mod volume_sources;
mod volumes;
mod windows;

use serde_json::Value;

pub(crate) use annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, annotation_updates};
pub(crate) use container::image_is_trimmed;
pub(crate) use resources::amount;
pub(crate) use scheduling::{TAINT_EFFECTS, tolerations};
pub(crate) use security::USER_ID;

use context::Context;

use crate::field::{Errors, Field, Path};
use crate::names::{dns_label, dns_subdomain, qualified_name};
use crate::validate::metadata;
use crate::validate::rules::{Rule::*, check};

/// The rules for a new pod, beyond those of `metadata`.
pub fn validate_pod(pod: &Value, errors: &mut Errors) {
    spec_and_annotations(pod, errors);
    let spec = Field::top(pod, "spec");
    check(&spec, &[("ephemeralContainers?", Never("cannot be set on create"))], errors);
    if spec.has("nodeName") && spec.has("schedulingGates") {
        errors.forbidden(&spec.get("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::match_fields(&pod["metadata"]["annotations"], &spec, errors);
}

/// The rules that hold for a pod at every moment of its life.
pub(crate) fn spec_and_annotations(pod: &Value, errors: &mut Errors) {
    let (metadata, spec) = (Field::top(pod, "metadata"), Field::top(pod, "spec"));
    annotations::annotations(&metadata.get("annotations"), &spec, errors);
    let context = Context::new(spec, metadata.str("name"), true);
    validate_spec(&spec, &context, errors);
    if !spec.has("serviceAccountName") {
        spec.each("volumes.projected.sources.serviceAccountToken", &mut |token| {
            errors.forbidden(token, "must not be specified when serviceAccountName is not set");
        });
    }
    for list in ["containers", "initContainers"] {
        spec.each(list, &mut |container| image_is_trimmed(container, errors));
    }
}

/// The rules for the template (`metadata` and `spec`) of a workload, which lies at `path`.
pub fn validate_pod_template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let template = Field::new(path, template);
    // Upstream's paths leave out `metadata` here.
    let metadata = template.get("metadata");
    let labels = Field::new(&path.child("labels"), metadata.raw("labels"));
    let of_template = Field::new(&path.child("annotations"), metadata.raw("annotations"));
    metadata::labels(&labels, errors);
    metadata::annotations(&of_template, errors);
    let spec = template.get("spec");
    annotations::annotations(&of_template, &spec, errors);
    validate_spec(&spec, &Context::new(spec, "", false), errors);
    annotations::match_fields(of_template.value, &spec, errors);
    check(
        &spec,
        &[("ephemeralContainers?", Never("ephemeral containers not allowed in pod template"))],
        errors,
    );
}

fn validate_spec(spec: &Field, context: &Context, errors: &mut Errors) {
    if !spec.get("terminationGracePeriodSeconds").is_set() {
        errors.required(&spec.get("terminationGracePeriodSeconds"), "");
    }
    volumes::volumes(&spec.get("volumes"), context.pod_name, errors);
    resources::claims(&spec.get("resourceClaims"), errors);
    container::containers(&spec.get("containers"), context, errors);
    container::init_containers(&spec.get("initContainers"), context, errors);
    container::ephemeral_containers(&spec.get("ephemeralContainers"), context, errors);
    resources::pod_level(spec, errors);
    if spec.is_true("hostNetwork") {
        container::host_ports(spec, context, errors);
    }
    let table = [
        ("restartPolicy", NeededOneOf("Always OnFailure Never")),
        ("dnsPolicy", NeededOneOf("ClusterFirstWithHostNet ClusterFirst Default None")),
        ("nodeSelector", Is(metadata::labels)),
    ];
    check(spec, &table, errors);
    security::pod_security(spec, errors);
    scheduling::affinity(&spec.get("affinity"), errors);
    names::dns_config(&spec.get("dnsConfig"), spec.str("dnsPolicy"), errors);
    for gate in spec.get("readinessGates").items() {
        check(&gate, &[("conditionType", Name(qualified_name))], errors);
    }
    scheduling::gates(&spec.get("schedulingGates"), errors);
    scheduling::topology_spread(&spec.get("topologySpreadConstraints"), errors);
    windows::host_process(spec, errors);
    security::host_users(spec, errors);
    let table = [
        ("serviceAccountName? nodeName?", Name(dns_subdomain)),
        ("activeDeadlineSeconds", Between(1, i32::MAX as i64)),
        ("hostname? subdomain?", Name(dns_label)),
    ];
    check(spec, &table, errors);
    names::hostname_override(spec, errors);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    names::host_aliases(&spec.get("hostAliases"), errors);
    let table = [
        ("priorityClassName? *runtimeClassName", Name(dns_subdomain)),
        ("*preemptionPolicy", NeededOneOf("PreemptLowerPriority Never")),
        ("*overhead", Is(resources::overhead)),
    ];
    check(spec, &table, errors);
    windows::operating_system(spec, errors);
}
