//! Where a pod may run: affinity, spread, tolerations and gates.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names;
use crate::read::{entries, list, text};
use crate::selector;
use crate::validate::rules::{Rule::*, check};

/// In the order in which upstream names them.
pub(crate) const TAINT_EFFECTS: &str = "NoSchedule PreferNoSchedule NoExecute";

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
    nodes.each("requiredDuringSchedulingIgnoredDuringExecution", &mut |required| {
        check(
            required,
            &[("nodeSelectorTerms", NeededFor("must have at least one node selector term"))],
            errors,
        );
        required.each("nodeSelectorTerms", &mut |term| node_selector_term(term, false, errors));
    });
    nodes.each("preferredDuringSchedulingIgnoredDuringExecution", &mut |preferred| {
        weight(preferred, errors);
        node_selector_term(&preferred.get("preference"), true, errors);
    });
    for pods in affinity.among(&["podAffinity", "podAntiAffinity"]) {
        pods.each("requiredDuringSchedulingIgnoredDuringExecution", &mut |term| pod_term(term, errors));
        pods.each("preferredDuringSchedulingIgnoredDuringExecution", &mut |preferred| {
            weight(preferred, errors);
            pod_term(&preferred.get("podAffinityTerm"), errors);
        });
    }
}

fn weight(preferred: &Field, errors: &mut Errors) {
    let weight = preferred.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&preferred.get("weight"), weight, "must be in the range 1-100");
    }
}

/// One term of a node selector. Preferences may compare with values that no label can have (`any_value`).
fn node_selector_term(term: &Field, any_value: bool, errors: &mut Errors) {
    term.each("matchExpressions", &mut |requirement| {
        selector::validate_expression(requirement, "Gt Lt", any_value, errors);
    });
    term.each("matchFields", &mut |requirement| field_requirement(requirement, errors));
}

fn field_requirement(requirement: &Field, errors: &mut Errors) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    if !["In", "NotIn"].contains(&operator.text()) {
        errors.wrong(&operator, "not a valid selector operator");
    } else if values.items().len() != 1 {
        let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(&values, detail);
    }
    let key = requirement.get("key");
    if key.text() != "metadata.name" {
        return errors.wrong(&key, "not a valid field selector key");
    }
    check(requirement, &[("values[]", Name(names::dns_subdomain))], errors);
}

fn pod_term(term: &Field, errors: &mut Errors) {
    selector::validate_object(&term.get("labelSelector"), false, errors);
    selector::validate_object(&term.get("namespaceSelector"), false, errors);
    for namespace in term.get("namespaces").items() {
        // Upstream's path is in the singular.
        errors.all_invalid(&term.child("namespace"), namespace.text(), names::dns_label(namespace.text()));
    }
    let (matched, mismatched) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    let labels = term.get("labelSelector");
    for keys in [&matched, &mismatched] {
        label_keys(keys, labels.is_set(), errors);
    }
    let times = times_selected(labels.value);
    for (index, key) in matched.items().enumerate() {
        if times.get(key.text()).is_some_and(|times| *times > 1) {
            errors.invalid(&term.index(index), key.text(), "exists in both matchLabelKeys and labelSelector");
        }
    }
    let others: HashSet<&str> = mismatched.items().map(|key| key.text()).collect();
    for key in matched.items() {
        if others.contains(key.text()) {
            errors.wrong(&key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    check(
        term,
        &[("topologyKey", NeededFor("can not be empty")), ("topologyKey", Name(names::qualified_name))],
        errors,
    );
}

fn label_keys(keys: &Field, has_selector: bool, errors: &mut Errors) {
    if !keys.is_empty() && !has_selector {
        return errors.forbidden(keys, "must not be specified when labelSelector is not set");
    }
    for key in keys.items() {
        Name(names::qualified_name).check(&key, errors);
    }
}

/// How often a selector names each key: more than once if it does so itself, beside the expression that `matchLabelKeys` has
/// added for it.
fn times_selected(selector: &Value) -> HashMap<&str, usize> {
    let mut times = HashMap::new();
    let expressions = list(selector, "/matchExpressions").iter().map(|expression| text(expression, "/key"));
    for key in expressions.chain(entries(selector, "/matchLabels").map(|(key, _)| key.as_str())) {
        *times.entry(key).or_default() += 1;
    }
    times
}

/// `topologySpreadConstraints`.
pub fn topology_spread(constraints: &Field, errors: &mut Errors) {
    fn pair<'v>(constraint: &Field<'_, 'v>) -> (&'v str, &'v str) {
        (constraint.str("topologyKey"), constraint.str("whenUnsatisfiable"))
    }
    let mut left: HashMap<(&str, &str), usize> = HashMap::new();
    for constraint in constraints.items() {
        *left.entry(pair(&constraint)).or_default() += 1;
    }
    for constraint in constraints.items() {
        let constraint = &constraint;
        let (topology, when) = (constraint.str("topologyKey"), constraint.str("whenUnsatisfiable"));
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&constraint.get("maxSkew"), skew, "must be greater than zero");
        }
        let table = [
            ("topologyKey", NeededFor("can not be empty")),
            ("whenUnsatisfiable", OneOf("DoNotSchedule ScheduleAnyway")),
        ];
        check(constraint, &table, errors);
        // Of equal ones upstream complains of all but the last.
        let later = left.entry((topology, when)).and_modify(|left| *left -= 1).or_default();
        if *later > 0 {
            let text = format!("{{{topology}, {when}}}");
            errors.duplicate(&constraint.child("{topologyKey, whenUnsatisfiable}"), text);
        }
        check(constraint, &[("minDomains", AtLeast(1, "must be greater than zero"))], errors);
        for domains in constraint.among(&["minDomains"]).filter(|_| when != "DoNotSchedule") {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
            errors.wrong(&domains, &detail);
        }
        check(constraint, &[("*nodeAffinityPolicy *nodeTaintsPolicy", OneOf("Honor Ignore"))], errors);
        spread_keys(constraint, errors);
        selector::validate_object(&constraint.get("labelSelector"), false, errors);
    }
}

fn spread_keys(constraint: &Field, errors: &mut Errors) {
    let (keys, labels) = (constraint.get("matchLabelKeys"), constraint.get("labelSelector"));
    if !keys.is_empty() && !labels.is_set() {
        errors.forbidden(&keys, "must not be specified when labelSelector is not set");
    }
    let times = times_selected(labels.value);
    for key in keys.items() {
        Name(names::qualified_name).check(&key, errors);
        if times.get(key.text()).is_some_and(|times| *times > 1) {
            errors.wrong(&key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// `tolerations`.
pub fn tolerations(tolerations: &Field, errors: &mut Errors) {
    for toleration in tolerations.items() {
        let (operator, effect) = (toleration.get("operator"), toleration.get("effect"));
        check(&toleration, &[("key?", Name(names::qualified_name))], errors);
        if !toleration.has("key") && operator.text() != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.wrong(&operator, detail);
        }
        if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            errors.wrong(&effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        let value = toleration.str("value");
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
            other => errors.not_supported(&operator, other, "Equal Exists"),
        }
        check(&toleration, &[("effect?", OneOf(TAINT_EFFECTS))], errors);
    }
}
