//! What happens to a pod on its way in, before its rules are looked at.
//!
//! Source: `pkg/registry/core/pod/strategy.go`.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use super::app_armor;
use super::update::semantically_equal;
use crate::defaults::{each, fill_empty};
use crate::field::is_zero;
use crate::kinds::strategy::{generation, keep, set_generation};
use crate::podspec::resources::qos_class;
use crate::read::{int, list, text};

/// A new pod is pending, and has generation 1. Where scheduling gates hold it back, its status says so from the start.
pub fn prepare_create(pod: &mut Value) {
    set_generation(pod, 1);
    let (made_at, labels) = (pod["metadata"]["creationTimestamp"].clone(), pod["metadata"]["labels"].clone());
    let annotations = pod["metadata"]["annotations"].clone();
    each(pod, "spec", &mut |spec| {
        no_negative_grace(spec);
        each(spec, "topologySpreadConstraints", &mut |constraint| add_expressions(constraint, &labels));
        for term in TERMS {
            each(spec, term, &mut |term| add_expressions(term, &labels));
        }
        app_armor::fields_from_annotations(spec, &annotations);
    });
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(&pod["spec"])});
    if !is_zero(&pod["spec"]["schedulingGates"]) {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": null,
            "lastTransitionTime": made_at,
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    pod["status"] = status;
}

/// Where terms about other pods lie.
const TERMS: [&str; 4] = [
    "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution",
    "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution.podAffinityTerm",
    "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
    "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution.podAffinityTerm",
];

/// A write to the pod leaves its status alone; the generation counts changes of the spec.
pub fn prepare_update(new: &mut Value, old: &Value) {
    each(new, "spec", &mut no_negative_grace);
    keep(new, old, "status");
    count(new, old);
}

/// A write to the status may also touch labels, annotations and finalizers, but not the owners. What it leaves out of what
/// was observed stays as it was.
pub fn prepare_status_update(new: &mut Value, old: &Value) {
    keep(new, old, "spec");
    for field in ["generation", "ownerReferences", "deletionTimestamp"] {
        keep(&mut new["metadata"], &old["metadata"], field);
    }
    let was = &old["status"];
    each(new, "status", &mut |status| {
        fill_empty(status, "qosClass", was["qosClass"].clone());
        keep_observed(status, was);
        // Several conditions may have one type: each takes after one, in order.
        let mut before: HashMap<&str, VecDeque<&Value>> = HashMap::new();
        for condition in list(was, "/conditions") {
            before.entry(text(condition, "/type")).or_default().push_back(condition);
        }
        each(status, "conditions", &mut |condition| {
            let same_type = before.get_mut(text(condition, "/type")).and_then(VecDeque::pop_front);
            same_type.into_iter().for_each(|old| keep_observed(condition, old));
        });
    });
}

fn keep_observed(new: &mut Value, old: &Value) {
    if int(old, "/observedGeneration") != 0 {
        fill_empty(new, "observedGeneration", old["observedGeneration"].clone());
    }
}

/// A write to `/ephemeralcontainers` changes those and nothing else.
pub fn prepare_ephemeral_update(new: &mut Value, old: &Value) {
    let wanted = new["spec"]["ephemeralContainers"].clone();
    only_spec(new, old, |spec| spec["ephemeralContainers"] = wanted);
}

/// A write to `/resize` changes what containers ask for and nothing else. Where containers came, went or changed places it
/// is left as it is, so that its rules refuse it.
pub fn prepare_resize(new: &mut Value, old: &Value) {
    let lists = ["containers", "initContainers"];
    let names = |pod: &Value, list: &str| -> Vec<Value> {
        let items = pod["spec"][list].as_array().into_iter().flatten();
        items.map(|container| container["name"].clone()).collect()
    };
    if lists.iter().any(|list| names(new, list) != names(old, list)) {
        return;
    }
    let wanted = new["spec"].clone();
    only_spec(new, old, |spec| {
        for list in lists {
            let mut from = wanted[list].as_array().into_iter().flatten();
            each(spec, list, &mut |container| {
                let from = from.next().unwrap_or(&Value::Null);
                keep(container, from, "resources");
                keep(container, from, "resizePolicy");
            });
        }
    });
}

/// The old pod with a change of its spec; what the write itself says of revision and managers is kept.
fn only_spec(new: &mut Value, old: &Value, change: impl FnOnce(&mut Value)) {
    let written = std::mem::replace(new, old.clone());
    for field in ["resourceVersion", "managedFields"] {
        keep(&mut new["metadata"], &written["metadata"], field);
    }
    change(&mut new["spec"]);
    if let Some(spec) = new["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    count(new, old);
}

fn count(new: &mut Value, old: &Value) {
    let changed = !semantically_equal(&new["spec"], &old["spec"]);
    set_generation(new, generation(old).saturating_add(i64::from(changed)));
}

/// A negative grace period counts as one second, as upstream has it.
fn no_negative_grace(spec: &mut Value) {
    if int(spec, "/terminationGracePeriodSeconds") < 0 {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
}

/// `matchLabelKeys` become expressions with the pod's own values, so that schedulers need not know the field.
fn add_expressions(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if !added.is_empty() && term["labelSelector"].is_object() {
        let mut all = list(term, "/labelSelector/matchExpressions").to_vec();
        all.append(&mut added);
        term["labelSelector"]["matchExpressions"] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_observed_is_not_forgotten_by_who_does_not_know_of_it() {
        let old = json!({"metadata": {}, "spec": {}, "status": {"observedGeneration": 3, "qosClass": "Burstable",
            "conditions": [{"type": "Ready", "observedGeneration": 2}, {"type": "Other"}]}});
        let mut new = json!({"metadata": {}, "spec": {}, "status": {
            "conditions": [{"type": "Other"}, {"type": "Ready", "status": "True"}]}});
        prepare_status_update(&mut new, &old);
        let status = &new["status"];
        assert_eq!((&status["observedGeneration"], &status["qosClass"]), (&json!(3), &json!("Burstable")));
        assert_eq!(status["conditions"][1]["observedGeneration"], 2);
        assert!(status["conditions"][0].get("observedGeneration").is_none());
    }
}
