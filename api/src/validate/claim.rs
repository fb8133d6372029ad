//! The rules for what a volume claim asks for, alone or as a template inside a pod.
//!
//! Source: `ValidatePersistentVolumeClaimSpec` in `pkg/apis/core/validation/validation.go`.

use crate::field::{Errors, Field};
use crate::names;
use crate::quantity::Quantity;
use crate::selector;
use crate::validate::metadata;
use crate::validate::rules::{Rule::*, check};

const SHARED: &str = "ReadOnlyMany ReadWriteMany ReadWriteOnce";
const ALONE: &str = "ReadWriteOncePod";

/// What of its metadata the pod decides. Upstream names the fields of the Go struct, the first letter in lower case.
const OTHERS: &str = "name generateName namespace selfLink uid resourceVersion generation creationTimestamp \
    deletionTimestamp deletionGracePeriodSeconds ownerReferences finalizers managedFields";

/// A claim inside a pod: its labels and annotations may be given, everything else of its metadata is the pod's.
pub fn validate_claim_template(template: &Field, errors: &mut Errors) {
    let meta = template.get("metadata");
    check(&meta, &[("annotations", Is(metadata::annotations)), ("labels", Is(metadata::labels))], errors);
    for name in OTHERS.split(' ').filter(|name| meta.has(name)) {
        errors.forbidden(&meta.child(if name == "uid" { "uID" } else { name }), "cannot be set");
    }
    validate_claim_spec(&template.get("spec"), errors);
}

/// What a claim asks for.
pub fn validate_claim_spec(spec: &Field, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    NeededFor("at least 1 access mode is required").check(&modes, errors);
    selector::validate_object(&spec.get("selector"), false, errors);
    for mode in modes.items() {
        OneOf("ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod")
            .check(&Field::new(&modes, mode.value), errors);
    }
    let has = |set: &str| modes.items().any(|mode| names::is_one_of(mode.text(), set));
    if has(ALONE) && has(SHARED) {
        errors.forbidden(&modes, "may not use ReadWriteOncePod with other access modes");
    }
    storage(&spec.get("resources"), errors);
    let table = [
        ("storageClassName?", Name(names::dns_subdomain)),
        ("*volumeMode", OneOf("Block Filesystem")),
        ("*dataSource *dataSourceRef", Is(data_source)),
    ];
    check(spec, &table, errors);
}

fn storage(resources: &Field, errors: &mut Errors) {
    let requests = resources.get("requests");
    let path = resources.key("storage");
    match Quantity::from_json(requests.raw("storage")) {
        None => errors.required(&path, ""),
        Some(size) => {
            if size <= Quantity::ZERO {
                errors.invalid(&requests.key("storage"), size.to_string(), "must be greater than zero");
            }
        }
    }
}

fn data_source(source: &Field, errors: &mut Errors) {
    check(source, &[("name kind", Needed)], errors);
    if !source.has("apiGroup") && source.str("kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(source, source.str("kind"), detail);
    }
    check(
        source,
        &[("namespace?", Name(names::dns_label)), ("apiGroup?", Name(names::dns_subdomain))],
        errors,
    );
}
