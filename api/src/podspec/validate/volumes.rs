//! Volumes: each named once, and from exactly one source.

use std::collections::HashSet;

use serde_json::Value;

use super::volume_sources::SOURCES;
use crate::field::{Errors, Field, Path};
use crate::names;
use crate::validate::rules::Rule::NeededName;

/// `volumes` of a pod of this name; of a template the name is empty.
pub fn volumes(volumes: &Field, pod_name: &str, errors: &mut Errors) {
    let claim_of = |volume: &Field| format!("{}-{}", pod_name, volume.str("name"));
    let made: HashSet<String> = volumes
        .items()
        .filter(|volume| !pod_name.is_empty() && volume.get("ephemeral").is_set())
        .map(|volume| claim_of(&volume))
        .collect();
    let mut taken = HashSet::new();
    for volume in volumes.items() {
        let mut found = Errors::new();
        one(&volume, pod_name, &mut found);
        let name = volume.str("name");
        if taken.contains(name) {
            found.duplicate(&volume.get("name"), name);
        }
        if found.is_empty() {
            taken.insert(name);
        }
        errors.append(found);
        let claim = volume.get("persistentVolumeClaim");
        if claim.is_set() && made.contains(claim.str("claimName")) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&claim.get("claimName"), claim.str("claimName"), detail);
        }
    }
}

/// Whether a volume breaks no rule: one that does cannot be mounted.
pub fn is_right(volume: &Value) -> bool {
    let path = Path::root("volumes");
    let mut errors = Errors::new();
    one(&Field::new(&path, volume), "", &mut errors);
    errors.is_empty()
}

fn one(volume: &Field, pod_name: &str, errors: &mut Errors) {
    let mut found = 0;
    for source in SOURCES {
        let field = volume.get(source.field);
        if !field.is_set() {
            continue;
        }
        found += 1;
        if found > 1 {
            let path = volume.child(source.when_refused.unwrap_or(source.field));
            errors.forbidden(&path, "may not specify more than 1 volume type");
        } else {
            let path = volume.child(source.in_rules.unwrap_or(source.field));
            source.check(&Field::new(&path, field.value), errors);
        }
        match source.field {
            "iscsi" => initiator_fits(volume, &field, errors),
            "ephemeral" if found == 1 && !pod_name.is_empty() && volume.has("name") => {
                let claim = format!("{pod_name}-{}", volume.str("name"));
                for problem in names::dns_subdomain(&claim) {
                    let detail = format!("PVC name {claim:?}: {problem}");
                    errors.invalid(&volume.get("name"), volume.str("name"), &detail);
                }
            }
            _ => {}
        }
    }
    if found == 0 {
        errors.required(volume, "must specify a volume type");
    }
    NeededName(names::dns_label).check(&volume.get("name"), errors);
}

fn initiator_fits(volume: &Field, iscsi: &Field, errors: &mut Errors) {
    let (name, portal) = (volume.str("name"), iscsi.str("targetPortal"));
    if iscsi.get("initiatorName").is_set() && name.len() + 1 + portal.len() > 64 {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(&volume.get("name"), name, detail);
    }
}
