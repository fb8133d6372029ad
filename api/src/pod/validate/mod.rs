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

use serde_json::Value;

pub(crate) use annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD, annotation_updates};
pub(crate) use scheduling::tolerations;

use crate::field::{Errors, Field, Path};
use crate::names as rules_for_names;
use crate::validate::{metadata, rules};

/// What rules must know of the pod around the field that they look at.
pub(crate) struct Context<'a> {
    /// The whole spec.
    spec: Field<'a, 'a>,
    /// The name of the pod; empty in templates.
    pod_name: &'a str,
    /// Whether this is a pod; templates may leave open what a pod may not.
    is_pod: bool,
}

impl Context<'_> {
    /// The volumes that are right, by name: what a mount may name.
    fn volume(&self, name: &str) -> Option<&Value> {
        let volumes = self.spec.raw("volumes").as_array()?;
        let volume = volumes.iter().find(|v| v.get("name").and_then(Value::as_str) == Some(name))?;
        volumes::is_right(volume).then_some(volume)
    }

    /// Whether the pod shares the host's users, as it does unless it says otherwise.
    fn host_users(&self) -> bool {
        self.spec.raw("hostUsers") != &Value::Bool(false)
    }
}

/// The rules for a new pod, beyond those of `metadata`.
pub fn validate_pod(pod: &Value, errors: &mut Errors) {
    spec_and_annotations(pod, errors);
    let path = Path::root("spec");
    let spec = Field::new(&path, pod.get("spec").unwrap_or(&Value::Null));
    if spec.has("ephemeralContainers") {
        errors.forbidden(&spec.get("ephemeralContainers"), "cannot be set on create");
    }
    if spec.has("nodeName") && spec.has("schedulingGates") {
        errors.forbidden(&spec.get("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::match_fields(pod, &spec, errors);
}

/// The rules that hold for a pod at every moment of its life.
pub(crate) fn spec_and_annotations(pod: &Value, errors: &mut Errors) {
    let (meta, path) = (Path::root("metadata"), Path::root("spec"));
    let metadata = Field::new(&meta, pod.get("metadata").unwrap_or(&Value::Null));
    let spec = Field::new(&path, pod.get("spec").unwrap_or(&Value::Null));
    annotations::annotations(&metadata.get("annotations"), &spec, errors);
    let context = Context { spec, pod_name: metadata.str("name"), is_pod: true };
    validate_spec(&spec, &context, errors);
    if !spec.has("serviceAccountName") {
        volumes::no_tokens(&spec.get("volumes"), errors);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            container::image_is_trimmed(&container, errors);
        }
    }
}

/// The rules for the template (`metadata` and `spec`) of a workload, which lies at `path`.
pub fn validate_pod_template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let template = Field::new(path, template);
    // Upstream's paths leave out `metadata` here.
    let metadata = template.raw("metadata");
    let labels = metadata.get("labels").unwrap_or(&Value::Null);
    let annotations = metadata.get("annotations").unwrap_or(&Value::Null);
    metadata::labels(&Field::new(&path.child("labels"), labels), errors);
    metadata::annotations(&Field::new(&path.child("annotations"), annotations), errors);
    let spec = template.get("spec");
    annotations::annotations(&Field::new(&path.child("annotations"), annotations), &spec, errors);
    let context = Context { spec, pod_name: "", is_pod: false };
    validate_spec(&spec, &context, errors);
    annotations::seccomp_matches(annotations, &spec, errors);
    if spec.has("ephemeralContainers") {
        errors
            .forbidden(&spec.get("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
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
        container::host_ports(&spec.get("containers"), context, errors);
    }
    one_of_or_required(&spec.get("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of_or_required(&spec.get("dnsPolicy"), &policies, errors);
    metadata::labels(&spec.get("nodeSelector"), errors);
    security::pod_security(spec, errors);
    scheduling::affinity(&spec.get("affinity"), errors);
    names::dns_config(&spec.get("dnsConfig"), spec.str("dnsPolicy"), errors);
    for gate in spec.get("readinessGates").items() {
        rules::follows(&gate.get("conditionType"), rules_for_names::qualified_name, errors);
    }
    scheduling::gates(&spec.get("schedulingGates"), errors);
    scheduling::topology_spread(&spec.get("topologySpreadConstraints"), errors);
    windows::host_process(spec, errors);
    security::host_users(spec, errors);
    names::names(spec, errors);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    names::host_aliases(&spec.get("hostAliases"), errors);
    for name in ["priorityClassName", "runtimeClassName"] {
        if spec.has(name) {
            rules::follows(&spec.get(name), rules_for_names::dns_subdomain, errors);
        }
    }
    if spec.get("preemptionPolicy").is_set() {
        let policies = ["PreemptLowerPriority", "Never"];
        one_of_or_required(&spec.get("preemptionPolicy"), &policies, errors);
    }
    resources::overhead(&spec.get("overhead"), errors);
    windows::operating_system(spec, errors);
}

/// A string out of a set, which must be there; `allowed` is in the order of the text.
pub(crate) fn one_of_or_required(field: &Field, allowed: &[&str], errors: &mut Errors) {
    if field.is_empty() { errors.required(field, "") } else { rules::one_of(field, allowed, errors) }
}

/// Every container of a spec, in upstream's order: the init containers, the containers, the ephemeral ones.
pub(crate) fn visit_containers(spec: &Field, mut visit: impl FnMut(&Field)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        spec.get(list).items().for_each(|container| visit(&container));
    }
}
