//! What kinds have in common that make pods from a template: Deployment, ReplicaSet and those to come.

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names;
use crate::pod::validate_pod_template;
use crate::selector;
use crate::validate::rules;

/// Selector and template of a set of equal pods, which must belong together. `required` is the text for an empty selector.
///
/// Source: `ValidateDeploymentSpec` and `ValidatePodTemplateSpecForReplicaSet` in `pkg/apis/apps/validation`.
pub(super) fn selector_and_template(spec: &Field, errors: &mut Errors) {
    let at = spec.get("selector");
    if at.is_set() {
        selector::invalid_object(at.value, &at, false, errors);
        let is_empty = ["matchLabels", "matchExpressions"].iter().all(|field| !at.has(field));
        if is_empty {
            errors.invalid(&at, at.value.clone(), "empty selector is invalid for deployment");
        }
    } else {
        errors.required(&at, "");
    }
    match selector::from_object(at.value) {
        Err(_) => errors.invalid(&at, at.value.clone(), "invalid label selector"),
        Ok(selector) => template(&spec.get("template"), &selector, errors),
    }
}

fn template(template: &Field, selector: &selector::Selector, errors: &mut Errors) {
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    if !selector.is_everything() && !selector.matches(labels.value) {
        errors.invalid(&labels, labels.value.clone(), "`selector` does not match template `labels`");
    }
    validate_pod_template(template.value, template, errors);
    let spec = template.get("spec");
    rules::one_of(&spec.get("restartPolicy"), &["Always"], errors);
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.is_set() {
        errors.forbidden(&deadline, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

/// Numbers of a status: none negative, and none of `parts` above the number of replicas. Absent ones are 0.
pub(super) fn counts(status: &Field, all: &[&str], parts: &[&str], errors: &mut Errors) {
    let count = |name| status.int(name).unwrap_or(0);
    for name in all {
        rules::non_negative(&status.get(name), errors);
    }
    for name in parts.iter().filter(|name| count(name) > count("replicas")) {
        errors.invalid(&status.get(name), count(name), "cannot be greater than status.replicas");
    }
    if count("availableReplicas") > count("readyReplicas") {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(&status.get("availableReplicas"), count("availableReplicas"), detail);
    }
}

/// What names of workloads lead to in the names of their pods.
pub(super) fn name_warnings(object: &Value) -> Vec<String> {
    let problems = names::dns_label(crate::read::text(object, "/metadata/name"));
    if problems.is_empty() {
        return Vec::new();
    }
    let problems = problems.join(" ");
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{problems}]"
    )]
}
