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
mod env;
mod mounts;
mod names;
mod probes;
mod resources;
mod scheduling;
mod security;
#[cfg(test)]
mod tests;
mod volume_sources;
mod volumes;
mod windows;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

pub(crate) use annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, annotation_updates};
pub(crate) use container::image_is_trimmed;
pub(crate) use resources::amount;
pub(crate) use scheduling::{TAINT_EFFECTS, tolerations};
pub(crate) use security::USER_ID;

use crate::field::{Errors, Field, Path};
use crate::names::{dns_label, dns_subdomain, qualified_name};
use crate::read::{list, text};
use crate::validate::metadata;
use crate::validate::rules::{Rule::*, check};

/// What rules must know of the pod around the field that they look at. What they look up is found once, for a pod may have
/// as many mounts as volumes.
pub(crate) struct Context<'a> {
    /// The whole spec.
    spec: Field<'a, 'a>,
    /// The name of the pod; empty in templates.
    pod_name: &'a str,
    /// Whether this is a pod; templates may leave open what a pod may not.
    is_pod: bool,
    /// The first volume of each name, and whether it breaks no rule: one that does cannot be mounted.
    volumes: HashMap<&'a str, (&'a Value, bool)>,
    /// The names of the pod's resource claims.
    claims: BTreeSet<&'a str>,
}

impl<'a> Context<'a> {
    fn new(spec: Field<'a, 'a>, pod_name: &'a str, is_pod: bool) -> Context<'a> {
        let mut volumes = HashMap::new();
        for volume in list(spec.value, "/volumes") {
            volumes.entry(text(volume, "/name")).or_insert_with(|| (volume, volumes::is_right(volume)));
        }
        let claims = list(spec.value, "/resourceClaims").iter().map(|claim| text(claim, "/name"));
        let claims = claims.filter(|name| !name.is_empty()).collect();
        Context { spec, pod_name, is_pod, volumes, claims }
    }

    /// The volume of a name, whether it is right or not.
    fn volume(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).map(|(volume, _)| *volume)
    }

    /// The volume of a name, if it is right: what a mount may name.
    fn mountable(&self, name: &str) -> Option<&'a Value> {
        self.volumes.get(name).filter(|(_, right)| *right).map(|(volume, _)| *volume)
    }

    /// Whether the pod shares the host's users, as it does unless it says otherwise.
    fn host_users(&self) -> bool {
        self.spec.raw("hostUsers") != &Value::Bool(false)
    }
}

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
    volumes::volumes(&spec.get("volumes"), context, errors);
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
