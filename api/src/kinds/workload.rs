//! What kinds have in common that make pods from a template: Deployment, ReplicaSet and those to come.

use serde_json::Value;

use super::strategy::{clear, generation};
use crate::field::{Errors, Field, Path};
use crate::kind::Kind;
use crate::names;
use crate::podspec::{complete_spec, template_warnings, validate_pod_template};
use crate::read::text;
use crate::selector;
use crate::table::{Cell::Computed, Column, cells};
use crate::validate::rules::{self, Rule::*, check};

/// What `-o wide` shows of the template and of the pods that are made of it.
pub(super) const CONTAINERS: Column =
    Column::text("Containers", "Names of the template's containers.", Computed(cells::template_containers))
        .wide();
/// See [`CONTAINERS`].
pub(super) const IMAGES: Column =
    Column::text("Images", "Images of the template's containers.", Computed(cells::template_images)).wide();
/// See [`CONTAINERS`].
pub(super) const SELECTOR: Column =
    Column::text("Selector", "Which pods it owns.", Computed(cells::selector)).wide();

/// What a template says where its author said nothing.
pub(super) fn default_template(workload: &mut Value) {
    if let Some(spec) = workload.pointer_mut("/spec/template/spec") {
        complete_spec(spec);
        // An empty overhead means something to the admission of pods, and nothing here.
        if crate::field::is_zero(&spec["overhead"]) {
            clear(spec, "overhead");
        }
    }
}

/// The rules for a change: those of the new spec, and a selector that stays.
pub(super) fn validate_update(
    kind: &Kind,
    new: &Value,
    old: &Value,
    validate_spec: fn(&Field, &mut Errors),
    errors: &mut Errors,
) {
    kind.check_metadata_update(new, old, errors);
    let (spec, old) = (Field::top(new, "spec"), Field::top(old, "spec"));
    validate_spec(&spec, errors);
    rules::immutable(&spec.get("selector"), &old.get("selector"), errors);
}

/// Selector and template of a set of equal pods, which must belong together.
///
/// Source: `ValidateDeploymentSpec` and `ValidatePodTemplateSpecForReplicaSet` in `pkg/apis/apps/validation`.
pub(super) fn selector_and_template(spec: &Field, errors: &mut Errors) {
    let at = spec.get("selector");
    if at.is_set() {
        selector::validate_object(&at, false, errors);
        let is_empty = ["matchLabels", "matchExpressions"].iter().all(|field| !at.has(field));
        if is_empty {
            errors.wrong(&at, "empty selector is invalid for deployment");
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
    let table = [
        ("restartPolicy", OneOf("Always")),
        ("*activeDeadlineSeconds", Never("activeDeadlineSeconds in ReplicaSet is not Supported")),
    ];
    check(&template.get("spec"), &table, errors);
}

/// Numbers of a status: none negative, and none of `parts` above the number of replicas. Absent ones are 0.
pub(super) fn counts(status: &Field, all: &str, parts: &[&str], errors: &mut Errors) {
    let count = |name| status.int(name).unwrap_or(0);
    check(status, &[(all, NotNegative)], errors);
    for name in parts.iter().filter(|name| count(name) > count("replicas")) {
        errors.invalid(&status.get(name), count(name), "cannot be greater than status.replicas");
    }
    if count("availableReplicas") > count("readyReplicas") {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(&status.get("availableReplicas"), count("availableReplicas"), detail);
    }
}

/// What a workload's name and template lead to: the name only on creation, the template only where it may have changed.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    let problems = names::dns_label(text(new, "/metadata/name"));
    if old.is_none() && !problems.is_empty() {
        let problems = problems.join(" ");
        found.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{problems}]"
        ));
    }
    let template = &new["spec"]["template"];
    // Upstream's paths leave out `spec` where a workload changes.
    match old {
        None => found.extend(template_warnings(template, &Path::root("spec").child("template"))),
        Some(old) if generation(old) != generation(new) => {
            found.extend(template_warnings(template, &Path::root("template")));
        }
        Some(_) => {}
    }
    found
}
