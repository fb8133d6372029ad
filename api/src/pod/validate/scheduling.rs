//! Where a pod may run: affinity, spread, tolerations and gates.

use std::collections::HashSet;

use serde_json::Value;

use super::one_of_or_required;
use crate::field::{Errors, Field};
use crate::names;
use crate::selector;
use crate::validate::rules;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `schedulingGates`: each once.
pub fn gates(gates: &Field, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for gate in gates.items() {
        let name = gate.str("name");
        errors.all_invalid(&gate, name, names::qualified_name(name));
        if !taken.insert(name) {
            errors.duplicate(&gate, name);
        }
    }
}

/// `affinity`.
pub fn affinity(affinity: &Field, errors: &mut Errors) {
    let nodes = affinity.get("nodeAffinity");
    let required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        node_selector(&required, errors);
    }
    for preferred in nodes.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&preferred, errors);
        node_selector_term(&preferred.get("preference"), true, errors);
    }
    for pods in affinity.among(&["podAffinity", "podAntiAffinity"]) {
        for term in pods.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, errors);
        }
        for preferred in pods.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&preferred, errors);
            pod_term(&preferred.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(preferred: &Field, errors: &mut Errors) {
    let weight = preferred.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&preferred.get("weight"), weight, "must be in the range 1-100");
    }
}

fn node_selector(selector: &Field, errors: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    rules::required(&terms, "must have at least one node selector term", errors);
    for term in terms.items() {
        node_selector_term(&term, false, errors);
    }
}

/// One term of a node selector. Preferences may compare with values that no label can have (`any_value`).
pub fn node_selector_term(term: &Field, any_value: bool, errors: &mut Errors) {
    for requirement in term.get("matchExpressions").items() {
        label_requirement(&requirement, any_value, errors);
    }
    for requirement in term.get("matchFields").items() {
        field_requirement(&requirement, errors);
    }
}

fn label_requirement(requirement: &Field, any_value: bool, errors: &mut Errors) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    let count = values.items().len();
    match operator.text() {
        "In" | "NotIn" if count == 0 => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&values, detail);
        }
        "Gt" | "Lt" if count != 1 => {
            errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&operator, other, "not a valid selector operator"),
    }
    rules::follows(&requirement.get("key"), names::qualified_name, errors);
    for value in values.items().filter(|_| !any_value) {
        rules::follows(&value, names::label_value, errors);
    }
}

fn field_requirement(requirement: &Field, errors: &mut Errors) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    if !["In", "NotIn"].contains(&operator.text()) {
        errors.invalid(&operator, operator.text(), "not a valid selector operator");
    } else if values.items().len() != 1 {
        let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(&values, detail);
    }
    let key = requirement.get("key");
    if key.text() != "metadata.name" {
        return errors.invalid(&key, key.text(), "not a valid field selector key");
    }
    for value in values.items() {
        rules::follows(&value, names::dns_subdomain, errors);
    }
}

fn pod_term(term: &Field, errors: &mut Errors) {
    for name in ["labelSelector", "namespaceSelector"] {
        selector::validate_object(term.raw(name), &term.child(name), false, errors);
    }
    for namespace in term.get("namespaces").items() {
        // Upstream's path is in the singular.
        errors.all_invalid(&term.child("namespace"), namespace.text(), names::dns_label(namespace.text()));
    }
    let (matched, mismatched) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    let labels = term.get("labelSelector");
    for keys in [&matched, &mismatched] {
        label_keys(keys, labels.is_set(), errors);
    }
    for (index, key) in matched.items().enumerate() {
        if stands_twice(labels.value, key.text()) {
            errors.invalid(&term.index(index), key.text(), "exists in both matchLabelKeys and labelSelector");
        }
    }
    for key in matched.items() {
        if mismatched.items().any(|other| other.text() == key.text()) {
            errors.invalid(&key, key.text(), "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    let topology = term.get("topologyKey");
    rules::required(&topology, "can not be empty", errors);
    rules::follows(&topology, names::qualified_name, errors);
}

fn label_keys(keys: &Field, has_selector: bool, errors: &mut Errors) {
    if !keys.is_empty() && !has_selector {
        return errors.forbidden(keys, "must not be specified when labelSelector is not set");
    }
    for key in keys.items() {
        rules::follows(&key, names::qualified_name, errors);
    }
}

/// Whether a selector names a key itself, beside the expression that `matchLabelKeys` has added for it.
fn stands_twice(selector: &Value, key: &str) -> bool {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let in_labels = labels.is_some_and(|labels| labels.contains_key(key));
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let count = expressions.filter(|e| e.get("key").and_then(Value::as_str) == Some(key)).count();
    count + usize::from(in_labels) > 1
}

/// `topologySpreadConstraints`.
pub fn topology_spread(constraints: &Field, errors: &mut Errors) {
    let all: Vec<Field> = constraints.items().collect();
    for (index, constraint) in all.iter().enumerate() {
        let positive = |name: &str, number: Option<i64>, errors: &mut Errors| {
            if let Some(number) = number.filter(|number| *number <= 0) {
                errors.invalid(&constraint.get(name), number, "must be greater than zero");
            }
        };
        positive("maxSkew", Some(constraint.int("maxSkew").unwrap_or(0)), errors);
        let (topology, when) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        rules::required(&topology, "can not be empty", errors);
        rules::one_of(&when, &["DoNotSchedule", "ScheduleAnyway"], errors);
        let pair = |c: &Field| (c.str("topologyKey").to_owned(), c.str("whenUnsatisfiable").to_owned());
        if all[index + 1..].iter().any(|later| pair(later) == pair(constraint)) {
            let text = format!("{{{}, {}}}", topology.text(), when.text());
            errors.duplicate(&constraint.child("{topologyKey, whenUnsatisfiable}"), text);
        }
        let domains = constraint.get("minDomains");
        positive("minDomains", constraint.int("minDomains"), errors);
        if domains.is_set() && when.text() != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", when.text());
            errors.invalid(&domains, domains.value.clone(), &detail);
        }
        for policy in constraint.among(&["nodeAffinityPolicy", "nodeTaintsPolicy"]) {
            rules::one_of(&policy, &["Honor", "Ignore"], errors);
        }
        spread_keys(constraint, errors);
        let selector = constraint.raw("labelSelector");
        selector::validate_object(selector, &constraint.child("labelSelector"), false, errors);
    }
}

fn spread_keys(constraint: &Field, errors: &mut Errors) {
    let (keys, labels) = (constraint.get("matchLabelKeys"), constraint.get("labelSelector"));
    if !keys.is_empty() && !labels.is_set() {
        errors.forbidden(&keys, "must not be specified when labelSelector is not set");
    }
    for key in keys.items() {
        rules::follows(&key, names::qualified_name, errors);
        if stands_twice(labels.value, key.text()) {
            errors.invalid(&key, key.text(), "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// `tolerations`.
pub fn tolerations(tolerations: &Field, errors: &mut Errors) {
    for toleration in tolerations.items() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (effect, value) = (toleration.get("effect"), toleration.str("value"));
        if !key.is_empty() {
            rules::follows(&key, names::qualified_name, errors);
        } else if operator.text() != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&operator, operator.text(), detail);
        }
        if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&effect, effect.text(), detail);
        }
        match operator.text() {
            "Equal" | "" => {
                let problems = names::label_value(value);
                if !problems.is_empty() {
                    errors.invalid(&operator, value, &problems.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(&operator, value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            other => errors.not_supported(&operator, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            one_of_or_required(&effect, EFFECTS, errors);
        }
    }
}
