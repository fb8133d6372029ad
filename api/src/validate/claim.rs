//! The rules for what a volume claim asks for, alone or as a template inside a pod.
//!
//! Source: `ValidatePersistentVolumeClaimSpec` in `pkg/apis/core/validation/validation.go`.

use crate::field::{Errors, Field};
use crate::names;
use crate::quantity::Quantity;
use crate::selector;
use crate::validate::{metadata, rules};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A claim inside a pod: its labels and annotations may be given, everything else of its metadata is the pod's.
pub fn validate_claim_template(template: &Field, errors: &mut Errors) {
    let meta = template.get("metadata");
    metadata::annotations(&meta.get("annotations"), errors);
    metadata::labels(&meta.get("labels"), errors);
    let others = [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    for name in others.iter().filter(|name| meta.has(name)) {
        // Upstream names the field of the Go struct, its first letter in lower case.
        let shown = if *name == "uid" { "uID" } else { name };
        errors.forbidden(&meta.child(shown), "cannot be set");
    }
    validate_claim_spec(&template.get("spec"), errors);
}

/// What a claim asks for.
pub fn validate_claim_spec(spec: &Field, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    rules::required(&modes, "at least 1 access mode is required", errors);
    for selector in spec.among(&["selector"]) {
        selector::validate_object(selector.value, &selector, false, errors);
    }
    for mode in modes.items() {
        rules::one_of(&Field::new(&modes, mode.value), MODES, errors);
    }
    let alone = modes.items().any(|mode| mode.text() == "ReadWriteOncePod");
    let with_others = modes.items().any(|mode| MODES[..3].contains(&mode.text()));
    if alone && with_others {
        errors.forbidden(&modes, "may not use ReadWriteOncePod with other access modes");
    }
    storage(&spec.get("resources"), errors);
    if spec.has("storageClassName") {
        rules::follows(&spec.get("storageClassName"), names::dns_subdomain, errors);
    }
    for mode in spec.among(&["volumeMode"]) {
        rules::one_of(&mode, &["Block", "Filesystem"], errors);
    }
    for source in spec.among(&["dataSource"]) {
        data_source(&source, false, errors);
    }
    for source in spec.among(&["dataSourceRef"]) {
        data_source(&source, true, errors);
    }
}

fn storage(resources: &Field, errors: &mut Errors) {
    let requests = resources.get("requests");
    let path = resources.key("storage");
    match Quantity::from_json(requests.raw("storage")) {
        None => errors.required(&path, ""),
        Some(size) => {
            let at = resources.child("requests");
            let at = at.key("storage");
            if size <= Quantity::ZERO {
                errors.invalid(&at, size.to_string(), "must be greater than zero");
            }
        }
    }
}

fn data_source(source: &Field, any_group: bool, errors: &mut Errors) {
    for name in ["name", "kind"] {
        rules::required(&source.get(name), "", errors);
    }
    let group = source.get("apiGroup");
    if group.is_empty() && source.str("kind") != "PersistentVolumeClaim" {
        errors.invalid(
            source,
            source.str("kind"),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
    if any_group && source.has("namespace") {
        rules::follows(&source.get("namespace"), names::dns_label, errors);
    }
    if !group.is_empty() {
        rules::follows(&group, names::dns_subdomain, errors);
    }
}
