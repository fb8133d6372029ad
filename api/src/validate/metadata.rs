//! The rules for `metadata`, the same for all kinds but for what a name may look like.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names;
use crate::validate::rules::{self, Rule::*, check};

/// The most bytes of all annotations of an object together, keys and values.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The most bytes of the name of a manager of fields, and of the subresource that it wrote to.
const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

/// How many surplus controllers are reported: each time all references are printed.
const MOST_CONTROLLERS: usize = 10;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

/// What a kind wants of `metadata`.
#[derive(Clone, Copy)]
pub struct MetaRules {
    /// What a name may look like.
    pub name: names::NameRule,
    /// Whether there must be a namespace; otherwise there may be none.
    pub namespaced: bool,
    /// Whether finalizers must be standard or have a domain. Custom resources are free.
    pub strict_finalizers: bool,
}

/// The `metadata` of a new object.
pub fn validate_metadata(object: &Value, rules: MetaRules, errors: &mut Errors) {
    let meta = Field::top(object, "metadata");
    names_of(&meta, rules, errors);
    NotNegative.check(&meta.get("generation"), errors);
    labels(&meta.get("labels"), errors);
    annotations(&meta.get("annotations"), errors);
    owner_references(&meta.get("ownerReferences"), errors);
    finalizers(&meta.get("finalizers"), errors);
    managed_fields(&meta.get("managedFields"), errors);
    if rules.strict_finalizers {
        finalizer_domains(&meta.get("finalizers"), errors);
    }
}

/// The `metadata` of a changed object. What the server itself keeps (uid, creation) was put back before.
pub fn validate_metadata_update(new: &Value, old: &Value, rules: MetaRules, errors: &mut Errors) {
    let (new, old) = (Field::top(new, "metadata"), Field::top(old, "metadata"));
    if old.has("deletionTimestamp") {
        no_new_finalizers(&new.get("finalizers"), &old.get("finalizers"), errors);
    }
    if !new.has("resourceVersion") {
        errors.wrong(&new.get("resourceVersion"), "must be specified for an update");
    }
    let generation = new.int("generation").unwrap_or(0);
    if generation < old.int("generation").unwrap_or(0) {
        errors.invalid(&new.get("generation"), generation, "must not be decremented");
    }
    for name in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        rules::immutable(&new.get(name), &old.get(name), errors);
    }
    labels(&new.get("labels"), errors);
    annotations(&new.get("annotations"), errors);
    owner_references(&new.get("ownerReferences"), errors);
    managed_fields(&new.get("managedFields"), errors);
    if rules.strict_finalizers {
        finalizer_domains(&new.get("finalizers"), errors);
    }
}

fn names_of(meta: &Field, rules: MetaRules, errors: &mut Errors) {
    let generate_name = meta.str("generateName");
    if !generate_name.is_empty() {
        let problems = (rules.name)(&without_trailing_dash(generate_name));
        errors.all_invalid(&meta.get("generateName"), generate_name, problems);
    }
    let name = meta.get("name");
    NeededFor("name or generateName is required").check(&name, errors);
    check(meta, &[("name?", Name(rules.name))], errors);
    let namespace = meta.get("namespace");
    if rules.namespaced {
        NeededName(names::dns_label).check(&namespace, errors);
    } else if !namespace.is_empty() {
        errors.forbidden(&namespace, "not allowed on this type");
    }
}

/// A prefix of names usually ends with a dash, and a name may not. Puts a letter there, so that the rules for names can
/// check the rest.
pub fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(head) if !head.is_empty() => {
            let mut name = head.to_owned();
            name.pop();
            name.push('a');
            name
        }
        _ => prefix.to_owned(),
    }
}

/// Keys and values of labels.
pub fn labels(labels: &Field, errors: &mut Errors) {
    for (key, value) in labels.entries() {
        errors.all_invalid(labels, key, names::qualified_name(key));
        errors.all_invalid(labels, value.text(), names::label_value(value.text()));
    }
}

/// Keys of annotations, and how much they hold in all. Unlike a label's, a key's prefix may be in upper case.
pub fn annotations(annotations: &Field, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        errors.all_invalid(annotations, key, names::qualified_name(&key.to_lowercase()));
        bytes += key.len() + value.text().len();
    }
    if bytes > ANNOTATIONS_MAX {
        errors.too_long(annotations, ANNOTATIONS_MAX);
    }
}

/// Complete references, no events, and at most one controller.
pub fn owner_references(references: &Field, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    let mut too_many = 0;
    for reference in references.items() {
        // Upstream's paths leave out the index here.
        let reference = Field::new(references, reference.value);
        let api_version = reference.str("apiVersion");
        let (group, version) = match api_version.split('/').collect::<Vec<_>>()[..] {
            [version] => ("", version),
            [group, version] => (group, version),
            _ => ("", ""),
        };
        if version.is_empty() {
            errors.invalid(&reference.get("apiVersion"), api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if !reference.has(name) {
                errors.invalid(&reference.get(name), "", "must not be empty");
            }
        }
        let (kind, name) = (reference.str("kind"), reference.str("name"));
        // Upstream's one banned owner. By name: a reference may name what no row serves, so there is no row to ask.
        if (group, version, kind) == ("", "v1", "Event") {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.invalid(&reference, in_order(reference.value), detail);
        }
        if reference.is_true("controller") {
            let this = format!("{kind}/{name}");
            if let Some(other) = &controller {
                too_many += 1;
                if too_many > MOST_CONTROLLERS || errors.is_full() {
                    continue;
                }
                let all = references.items().map(|r| in_order(r.value)).collect::<Vec<_>>();
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {other} and {this}"
                );
                errors.invalid(references, all, &detail);
            } else {
                controller = Some(this);
            }
        }
    }
}

/// Who owns which fields: written by the server, but a client may send it along.
///
/// Source: `ValidateManagedFields` in `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.
fn managed_fields(entries: &Field, errors: &mut Errors) {
    for entry in entries.items() {
        let (operation, of_type) = (entry.get("operation"), entry.get("fieldsType"));
        if !matches!(operation.text(), "Apply" | "Update") {
            errors.wrong(&operation, "must be `Apply` or `Update`");
        }
        if !matches!(of_type.text(), "" | "FieldsV1") {
            errors.wrong(&of_type, "must be `FieldsV1`");
        }
        let manager = entry.get("manager");
        if manager.text().len() > MANAGER_MAX {
            errors.too_long(&manager, MANAGER_MAX);
        }
        let unprintable = |c: &char| c.is_control() || (c.is_whitespace() && *c != ' ');
        for (at, c) in manager.text().char_indices().filter(|(_, c)| unprintable(c)) {
            if errors.is_full() {
                return;
            }
            errors.wrong(&manager, &format!("invalid character U+{:04X} (at position {at})", u32::from(c)));
        }
        if entry.str("subresource").len() > SUBRESOURCE_MAX {
            errors.too_long(&entry.get("subresource"), SUBRESOURCE_MAX);
        }
    }
}

/// A reference with its fields in the order of the type, however the client wrote them.
fn in_order(reference: &Value) -> Value {
    let names = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let field = |name: &&str| reference.get(*name).map(|value| ((*name).to_owned(), value.clone()));
    Value::Object(names.iter().filter_map(field).collect())
}

/// Names of finalizers, and the two that exclude each other.
fn finalizers(finalizers: &Field, errors: &mut Errors) {
    for finalizer in finalizers.items() {
        errors.all_invalid(finalizers, finalizer.text(), names::qualified_name(finalizer.text()));
    }
    let has = |name: &str| finalizers.items().any(|f| f.text() == name);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(finalizers, finalizers.value.clone(), detail);
    }
}

fn finalizer_domains(finalizers: &Field, errors: &mut Errors) {
    for finalizer in finalizers.items() {
        let name = finalizer.text();
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            errors.wrong(&finalizer, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn no_new_finalizers(new: &Field, old: &Field, errors: &mut Errors) {
    let names = |list: &Field| {
        list.items().map(|finalizer| finalizer.text().to_owned()).collect::<BTreeSet<String>>()
    };
    let extra: Vec<String> = names(new).difference(&names(old)).map(|name| format!("{name:?}")).collect();
    if !extra.is_empty() {
        let list = extra.join(", ");
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
        );
        errors.forbidden(new, &detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: MetaRules =
        MetaRules { name: names::dns_subdomain, namespaced: true, strict_finalizers: true };

    /// The faults of metadata that is right but for `change`, each up to the text after its value.
    fn faults(change: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "x", "namespace": "default"}});
        for (field, value) in change.as_object().into_iter().flatten() {
            object["metadata"][field] = value.clone();
        }
        let mut errors = Errors::new();
        validate_metadata(&object, RULES, &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn new_objects() {
        let owner = |extra: Value| {
            let mut owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"});
            for (field, value) in extra.as_object().into_iter().flatten() {
                owner[field] = value.clone();
            }
            owner
        };
        let cases = [
            (json!({}), vec![]),
            (json!({"name": ""}), vec!["metadata.name: Required value: name or generateName is required"]),
            (json!({"generateName": "x-"}), vec![]),
            (json!({"namespace": ""}), vec!["metadata.namespace: Required value"]),
            (
                json!({"generation": -1}),
                vec!["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"labels": {"/a": "b"}}),
                vec!["metadata.labels: Invalid value: \"/a\": prefix part must be non-empty"],
            ),
            (json!({"annotations": {"Example.com/a": "b c"}}), vec![]),
            (
                json!({"annotations": {"a": "x".repeat(262_144)}}),
                vec!["metadata.annotations: Too long: may not be more than 262144 bytes"],
            ),
            (
                json!({"finalizers": ["plain", "orphan", "foregroundDeletion"]}),
                vec![
                    "metadata.finalizers: Invalid value: [\"plain\",\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
                    "metadata.finalizers[0]: Invalid value: \"plain\": name is neither a standard finalizer name nor is it fully qualified",
                ],
            ),
            (
                json!({"managedFields": [
                    {"manager": "m", "operation": "Update", "fieldsType": "FieldsV1"},
                    {"manager": "a\u{7}", "operation": "Replace", "fieldsType": "FieldsV2", "subresource": "s".repeat(257)},
                ]}),
                vec![
                    "metadata.managedFields[1].operation: Invalid value: \"Replace\": must be `Apply` or `Update`",
                    "metadata.managedFields[1].fieldsType: Invalid value: \"FieldsV2\": must be `FieldsV1`",
                    "metadata.managedFields[1].manager: Invalid value: \"a\\a\": invalid character U+0007 (at position 1)",
                    "metadata.managedFields[1].subresource: Too long: may not be more than 256 bytes",
                ],
            ),
            (
                json!({"ownerReferences": [owner(json!({"apiVersion": "a/b/c", "uid": ""}))]}),
                vec![
                    "metadata.ownerReferences.apiVersion: Invalid value: \"a/b/c\": version must not be empty",
                    "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
                ],
            ),
            (
                json!({"ownerReferences": [owner(json!({"kind": "Event"}))]}),
                vec![
                    "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"a\",\"uid\":\"u\"}: /v1, Kind=Event is disallowed from being an owner",
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(faults(change.clone()), expected, "case: {change}");
        }
    }

    #[test]
    fn changed_objects() {
        let old = json!({"metadata": {"name": "x", "namespace": "default", "uid": "u", "resourceVersion": "1",
            "generation": 2, "deletionTimestamp": "2020-01-01T00:00:00Z", "finalizers": ["a/b"]}});
        let cases = [
            ("nothing", json!({}), vec![]),
            ("uid", json!({"uid": "v"}), vec!["metadata.uid: Invalid value: \"v\": field is immutable"]),
            (
                "generation",
                json!({"generation": 1}),
                vec!["metadata.generation: Invalid value: 1: must not be decremented"],
            ),
            (
                "revision",
                json!({"resourceVersion": ""}),
                vec!["metadata.resourceVersion: Invalid value: \"\": must be specified for an update"],
            ),
            (
                "finalizer",
                json!({"finalizers": ["a/b", "c/d"]}),
                vec![
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}",
                ],
            ),
        ];
        for (name, change, expected) in cases {
            let mut new = old.clone();
            for (field, value) in change.as_object().into_iter().flatten() {
                new["metadata"][field] = value.clone();
            }
            let mut errors = Errors::new();
            validate_metadata_update(&new, &old, RULES, &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "case: {name}");
        }
    }
}
