//! What may change in a pod that exists: little, and each change in its own way.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::field::{Errors, Field, Path};
use crate::internal::{self, diff};
use crate::podspec::{annotation_updates, image_is_trimmed, spec_and_annotations, tolerations};
use crate::validate::rules::{Rule::Needed, check};

/// The fields that the refusal of all others lists.
const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const NODE_TERMS: [&str; 3] =
    ["nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];

/// Whether two values are equal, where an empty list or map equals none: Go's `equality.Semantic.DeepEqual`.
pub(crate) fn semantically_equal(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(Value::is_null),
        _ => false,
    };
    match (a, b) {
        _ if empty(a) && empty(b) => true,
        (Value::Object(x), Value::Object(y)) => {
            x.keys().chain(y.keys()).all(|key| semantically_equal(&a[key.as_str()], &b[key.as_str()]))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| semantically_equal(x, y))
        }
        _ => a == b,
    }
}

/// The rules for a change of a pod, beyond those of `metadata`. (new, old)
pub fn validate_pod_update(new: &Value, old: &Value, errors: &mut Errors) {
    spec_and_annotations(new, errors);
    annotation_updates(new, old, errors);
    let (new_spec, old_spec) = (Field::top(new, "spec"), Field::top(old, "spec"));
    for list in ["containers", "initContainers"] {
        if new_spec.get(list).items().len() != old_spec.get(list).items().len() {
            return errors.forbidden(&new_spec.get(list), "pod updates may not add or remove containers");
        }
        for container in new_spec.get(list).items() {
            check(&container, &[("image", Needed)], errors);
            image_is_trimmed(&container, errors);
        }
    }
    if !deadline(&new_spec, &old_spec, errors) {
        return;
    }
    added_tolerations(&new_spec.get("tolerations"), &old_spec.get("tolerations"), errors);
    deleted_gates(&new_spec.get("schedulingGates"), &old_spec.get("schedulingGates"), errors);
    if semantically_equal(new_spec.value, old_spec.value) {
        return;
    }
    let mut rest = new_spec.value.clone();
    forgive(&mut rest, old_spec.value);
    if old_spec.has("schedulingGates") {
        gated_changes(&mut rest, &old_spec, errors);
    }
    if !semantically_equal(&rest, old_spec.value) {
        let changes = spec_diff("PodSpec", old_spec.value, &rest);
        let detail = format!("pod updates may not change fields other than {CHANGEABLE}\n{changes}");
        errors.forbidden(&new_spec, &detail);
    }
}

/// How two values differ, as upstream's internal structs print them.
pub(crate) fn spec_diff(name: &str, old: &Value, new: &Value) -> String {
    diff::unified(&internal::pretty(name, old), &internal::pretty(name, new))
}

/// `activeDeadlineSeconds` may be set and may be lowered. Returns whether the other rules are to be looked at.
fn deadline(new: &Field, old: &Field, errors: &mut Errors) -> bool {
    let field = new.get("activeDeadlineSeconds");
    match (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds")) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.invalid(&field, seconds, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.invalid(&field, seconds, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(&field, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn added_tolerations(new: &Field, old: &Field, errors: &mut Errors) {
    // All that a toleration says beside its seconds.
    fn said<'v>(toleration: &Field<'_, 'v>) -> [&'v str; 4] {
        ["key", "operator", "value", "effect"].map(|field| toleration.str(field))
    }
    let now: HashSet<[&str; 4]> = new.items().map(|toleration| said(&toleration)).collect();
    if old.items().all(|before| now.contains(&said(&before))) {
        tolerations(new, errors);
    } else {
        errors.forbidden(new, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn deleted_gates(new: &Field, old: &Field, errors: &mut Errors) {
    let known: HashSet<&str> = old.items().map(|gate| gate.str("name")).collect();
    for gate in new.items() {
        let name = gate.str("name");
        if !known.contains(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&gate.get("name"), &detail);
        }
    }
}

/// Puts the old values of all fields that may change into the new spec: whatever still differs must not change.
fn forgive(new: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let images: Vec<Value> =
            old[list].as_array().into_iter().flatten().map(|container| container["image"].clone()).collect();
        for (container, image) in new[list].as_array_mut().into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        new[field] = old[field].clone();
    }
    let grace = |spec: &Value| spec["terminationGracePeriodSeconds"].as_i64();
    if grace(old).is_some_and(|grace| grace < 0) && grace(new) == Some(1) {
        new["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"].clone();
    }
    if let Some(fields) = new.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// While scheduling gates hold a pod back, the nodes that it may run on can be narrowed.
fn gated_changes(new: &mut Value, old: &Field, errors: &mut Errors) {
    let (selector, before) = (new["nodeSelector"].clone(), old.get("nodeSelector"));
    if !semantically_equal(&selector, before.value) {
        let kept = |(key, value): (&str, Field)| selector.get(key) == Some(value.value);
        if !before.entries().into_iter().all(kept) {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&old.get("nodeSelector"), selector, detail);
        }
        new["nodeSelector"] = before.value.clone();
    }
    let nodes = new["affinity"]["nodeAffinity"].take();
    let affinity = old.get("affinity");
    let nodes_before = affinity.get("nodeAffinity");
    if !semantically_equal(&nodes, nodes_before.value) {
        narrowed(&nodes, &affinity, errors);
    }
    new["affinity"]["nodeAffinity"] = nodes_before.value.clone();
}

fn narrowed(new: &Value, affinity: &Field, errors: &mut Errors) {
    let [nodes, required, terms] = NODE_TERMS;
    let nodes = affinity.get(nodes);
    let required_before = nodes.get(required);
    let before = required_before.get(terms);
    let now = &new[required][terms];
    let count = now.as_array().map_or(0, Vec::len);
    if before.is_empty() {
        return;
    }
    if before.items().len() != count {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&before, internal::show_list("NodeSelectorTerm", now), detail);
    }
    for (index, term) in before.items().enumerate() {
        if !only_added(&now[index], term.value) {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&term, internal::show("NodeSelectorTerm", &now[index]), detail);
        }
    }
}

/// Whether a term keeps all its old conditions, perhaps with new ones. An empty term matches nothing and must stay
/// empty.
fn only_added(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    let items = |term: &Value, list: &str| term[list].as_array().cloned().unwrap_or_default();
    if lists.iter().all(|list| items(old, list).is_empty()) {
        return lists.iter().all(|list| items(new, list).is_empty());
    }
    lists.iter().all(|list| {
        let (now, before) = (items(new, list), items(old, list));
        now.len() >= before.len()
            && now.iter().zip(&before).all(|(now, before)| semantically_equal(now, before))
    })
}

/// The rules for a write to `/ephemeralcontainers`. (new, old)
pub fn validate_ephemeral_update(new: &Value, old: &Value, errors: &mut Errors) {
    spec_and_annotations(new, errors);
    annotation_updates(new, old, errors);
    if is_static(old) {
        return only(errors, "static pods do not support ephemeral containers");
    }
    let spec = Field::top(new, "spec");
    let field = spec.get("ephemeralContainers");
    let mut by_name: HashMap<&str, &Value> = HashMap::new();
    for now in field.items() {
        by_name.entry(now.str("name")).or_insert(now.value);
    }
    for before in old["spec"]["ephemeralContainers"].as_array().into_iter().flatten() {
        let name = before["name"].as_str().unwrap_or_default();
        match by_name.get(name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(&field, &detail);
            }
            _ if errors.is_full() => return,
            Some(now) if !semantically_equal(now, before) => {
                let changes = spec_diff("EphemeralContainer", before, now);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{changes}");
                errors.forbidden(&field, &detail);
            }
            Some(_) => {}
        }
    }
}

/// Whether the pod stands for one that its node runs from a file.
pub(crate) fn is_static(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some()
}

/// One fault of the whole object in place of all others.
pub(crate) fn only(errors: &mut Errors, detail: &str) {
    *errors = Errors::new();
    errors.forbidden(&Path::root(""), detail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::POD;
    use crate::kinds::pod::prepare::{prepare_create, prepare_update};
    use serde_json::json;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {
            "containers": [{"name": "c", "image": "a"}],
            "activeDeadlineSeconds": 50,
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
        }});
        POD.fill_in(&mut pod);
        prepare_create(&mut pod);
        pod
    }

    fn change(old: &Value, edit: impl FnOnce(&mut Value)) -> (Value, Vec<String>) {
        let mut new = old.clone();
        edit(&mut new["spec"]);
        prepare_update(&mut new, old);
        let mut errors = Errors::new();
        validate_pod_update(&new, old, &mut errors);
        (new, errors.0.iter().map(|e| e.to_string().lines().next().unwrap_or_default().to_owned()).collect())
    }

    #[test]
    fn little_may_change() {
        let refused = format!("spec: Forbidden: pod updates may not change fields other than {CHANGEABLE}");
        let kept = "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds";
        type Edit = fn(&mut Value);
        let cases: [(&str, Edit, Vec<&str>); 9] = [
            ("nothing", |_| {}, vec![]),
            ("image", |spec| spec["containers"][0]["image"] = "b".into(), vec![]),
            ("earlier", |spec| spec["activeDeadlineSeconds"] = 40.into(), vec![]),
            (
                "later",
                |spec| spec["activeDeadlineSeconds"] = 60.into(),
                vec![
                    "spec.activeDeadlineSeconds: Invalid value: 60: must be less than or equal to previous value",
                ],
            ),
            ("seconds", |spec| spec["tolerations"][0]["tolerationSeconds"] = 5.into(), vec![]),
            ("toleration", |spec| spec["tolerations"] = json!([]), vec![kept]),
            ("command", |spec| spec["containers"][0]["command"] = json!(["a"]), vec![&refused]),
            ("empty lists are none", |spec| spec["hostAliases"] = json!([]), vec![]),
            (
                "gate",
                |spec| spec["schedulingGates"] = json!([{"name": "g"}]),
                vec![
                    "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'",
                ],
            ),
        ];
        for (name, edit, expected) in cases {
            assert_eq!(change(&pod(), edit).1, expected, "case: {name}");
        }
    }

    #[test]
    fn the_generation_counts_what_the_spec_says() {
        let old = pod();
        assert_eq!(change(&old, |_| {}).0["metadata"]["generation"], 1);
        let (new, _) = change(&old, |spec| spec["containers"][0]["image"] = "b".into());
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn a_held_back_pod_can_be_narrowed() {
        let mut old = pod();
        old["spec"]["schedulingGates"] = json!([{"name": "g"}]);
        old["spec"]["nodeSelector"] = json!({"k": "v"});
        assert_eq!(change(&old, |spec| spec["nodeSelector"]["l"] = "w".into()).1, Vec::<String>::new());
        assert_eq!(
            change(&old, |spec| spec["nodeSelector"]["k"] = "w".into()).1,
            [
                "spec.nodeSelector: Invalid value: {\"k\":\"w\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            ]
        );
        let term = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}});
        assert_eq!(
            change(&old, |spec| spec["affinity"] = json!({"nodeAffinity": term})).1,
            Vec::<String>::new()
        );
    }
}
