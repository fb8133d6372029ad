//! What happens to a pod on its way in, before its rules are looked at.
//!
//! Source: `pkg/registry/core/pod/strategy.go`.

use serde_json::{Value, json};

use super::resources::qos_class;
use crate::defaults::{each, fill_empty, within};
use crate::field::is_zero;

/// A new pod is pending, and has generation 1; what it stands in the way of its scheduling is told at once.
pub fn prepare_create(pod: &mut Value) {
    let made_at = pod.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    let annotations = pod.pointer("/metadata/annotations").cloned().unwrap_or_default();
    within(pod, "metadata", |metadata| metadata["generation"] = 1.into());
    within(pod, "spec", |spec| {
        no_negative_grace(spec);
        add_label_keys(spec, &labels);
        super::app_armor::fields_from_annotations(spec, &annotations);
    });
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(spec)});
    if spec.get("schedulingGates").is_some_and(|gates| !is_zero(gates)) {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": null,
            "lastTransitionTime": made_at,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    if let Some(pod) = pod.as_object_mut() {
        pod.insert("status".into(), status);
    }
}

/// A write to the pod leaves its status alone; the generation counts changes of the spec.
pub fn prepare_update(new: &mut Value, old: &Value) {
    within(new, "spec", no_negative_grace);
    take(new, old, "status");
    count(new, old);
}

/// A write to the status may also touch labels, annotations and finalizers, but not the owners.
pub fn prepare_status_update(new: &mut Value, old: &Value) {
    take(new, old, "spec");
    let meta = old.get("metadata").unwrap_or(&Value::Null);
    within(new, "metadata", |new_meta| {
        for field in ["generation", "ownerReferences", "deletionTimestamp"] {
            take(new_meta, meta, field);
        }
    });
    let class = old.pointer("/status/qosClass").cloned().unwrap_or_default();
    within(new, "status", |status| fill_empty(status, "qosClass", class));
}

/// A write to `/ephemeralcontainers` changes those and nothing else.
pub fn prepare_ephemeral_update(new: &mut Value, old: &Value) {
    let wanted = new.pointer("/spec/ephemeralContainers").cloned().unwrap_or_default();
    only_spec(new, old, |spec| spec["ephemeralContainers"] = wanted);
}

/// A write to `/resize` changes what containers ask for and nothing else. Where containers came, went or changed places it
/// is left as it is, so that its rules refuse it.
pub fn prepare_resize(new: &mut Value, old: &Value) {
    let lists = ["containers", "initContainers"];
    let names = |pod: &Value, list: &str| -> Vec<Value> {
        let items = pod.pointer("/spec").and_then(|spec| spec.get(list)).and_then(Value::as_array);
        items.into_iter().flatten().map(|container| container["name"].clone()).collect()
    };
    if lists.iter().any(|list| names(new, list) != names(old, list)) {
        return;
    }
    let wanted = new.get("spec").cloned().unwrap_or_default();
    only_spec(new, old, |spec| {
        for list in lists {
            let mut from =
                wanted.get(list).and_then(Value::as_array).cloned().unwrap_or_default().into_iter();
            each(spec, list, |container| {
                let from = from.next().unwrap_or_default();
                for field in ["resources", "resizePolicy"] {
                    take(container, &from, field);
                }
            });
        }
    });
}

/// The old pod with a change of its spec; what the write itself says of revision and managers is kept.
fn only_spec(new: &mut Value, old: &Value, change: impl FnOnce(&mut Value)) {
    let written = std::mem::replace(new, old.clone());
    let meta = written.get("metadata").unwrap_or(&Value::Null);
    within(new, "metadata", |new_meta| {
        for field in ["resourceVersion", "managedFields"] {
            take(new_meta, meta, field);
        }
    });
    within(new, "spec", |spec| {
        change(spec);
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|_, value| !value.is_null());
        }
    });
    count(new, old);
}

/// Takes a field over from `from`, absence included.
fn take(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) if !value.is_null() => drop(to.insert(field.into(), value.clone())),
        _ => drop(to.shift_remove(field)),
    }
}

fn count(new: &mut Value, old: &Value) {
    let changed = !super::update::same(&new["spec"], &old["spec"]);
    let counted = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    within(new, "metadata", |meta| meta["generation"] = (counted + i64::from(changed)).into());
}

/// A negative grace period has always meant one second.
fn no_negative_grace(spec: &mut Value) {
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|grace| grace < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
}

/// `matchLabelKeys` become expressions with the pod's own values, so that its schedulers need not know of them.
fn add_label_keys(spec: &mut Value, labels: &Value) {
    each(spec, "topologySpreadConstraints", |constraint| add_expressions(constraint, labels));
    within(spec, "affinity", |affinity| {
        for kind in ["podAffinity", "podAntiAffinity"] {
            within(affinity, kind, |pods| {
                each(pods, "requiredDuringSchedulingIgnoredDuringExecution", |term| {
                    add_expressions(term, labels)
                });
                each(pods, "preferredDuringSchedulingIgnoredDuringExecution", |preferred| {
                    within(preferred, "podAffinityTerm", |term| add_expressions(term, labels));
                });
            });
        }
    });
}

fn add_expressions(term: &mut Value, labels: &Value) {
    if !term.get("labelSelector").is_some_and(Value::is_object) {
        return;
    }
    let mut added = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if !added.is_empty() {
        within(term, "labelSelector", |selector| {
            crate::defaults::fill_absent(selector, "matchExpressions", Value::Array(Vec::new()));
            if let Some(expressions) = selector["matchExpressions"].as_array_mut() {
                expressions.append(&mut added);
            }
        });
    }
}
