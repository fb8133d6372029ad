//! `Node`.

mod table;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::strategy::{PLAIN, keep};
use super::{PROXY_VERBS, STATUS, VERBS, core};
use crate::defaults::{fill_absent, within};
use crate::field::{Errors, Fault, Field, Path, is_zero};
use crate::internal;
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;
use crate::quantity::Quantity;
use crate::read::text;
use crate::validate::rules;

/// The row of `Node`.
pub static NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.core.v1.Node",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[core("proxy", "NodeProxyOptions", PROXY_VERBS), STATUS],
    selectable: &[Selectable { field: "spec.unschedulable", read: &["/spec/unschedulable"], zero: "false" }],
    table: &table::TABLE,
    strategy: &STRATEGY,
    view: None,
};

static STRATEGY: Strategy = Strategy {
    default,
    prepare_create,
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_update: |kind, new, old, errors| {
        validate(kind, new, errors);
        validate_change(kind, new, old, errors);
    },
    validate_status_update: validate_change,
    ..PLAIN
};

/// Holds off pods until the node has shown that it is ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// What there is counts as what may be used, and the old field for the node's range stands for the first of the new.
fn default(node: &mut Value) {
    within(node, "status", |status| {
        if let Some(capacity) = status.get("capacity").filter(|capacity| !is_zero(capacity)).cloned() {
            fill_absent(status, "allocatable", capacity);
        }
    });
    let (range, first) = (text(node, "/spec/podCIDR").to_owned(), text(node, "/spec/podCIDRs/0").to_owned());
    if !range.is_empty() && range != first {
        node["spec"]["podCIDRs"] = json!([range]);
    } else if range.is_empty() && !first.is_empty() {
        node["spec"]["podCIDR"] = first.into();
    }
}

fn prepare_create(node: &mut Value) {
    fill_absent(node, "spec", json!({}));
    within(node, "spec", |spec| {
        fill_absent(spec, "taints", json!([]));
        let is_it =
            |taint: &Value| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule";
        if let Some(taints) = spec["taints"].as_array_mut()
            && !taints.iter().any(is_it)
        {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
    });
}

fn validate(kind: &Kind, node: &Value, errors: &mut Errors) {
    kind.check_metadata(node, errors);
    taints(node, errors);
    resources(node, errors);
    let spec = Field::top(node, "spec");
    let ranges = spec.get("podCIDRs");
    for range in ranges.items() {
        rules::follows(&range, names::cidr, errors);
    }
    let family = |range: Field<'_, '_>| range.text().contains(':');
    let (v6, v4): (Vec<bool>, Vec<bool>) = ranges.items().map(family).partition(|v6| *v6);
    if v6.len() > 1 || v4.len() > 1 {
        errors.invalid(&ranges, ranges.value.clone(), "may specify no more than one CIDR for each IP family");
    }
}

/// Source: `validateNodeTaints` in `pkg/apis/core/validation/validation.go`, which says `metadata` for where they lie.
fn taints(node: &Value, errors: &mut Errors) {
    let path = Path::root("metadata");
    let path = path.child("taints");
    let taints = Field::new(&path, node.pointer("/spec/taints").unwrap_or(&Value::Null));
    let mut seen = HashSet::new();
    for taint in taints.items() {
        rules::follows(&taint.get("key"), names::qualified_name, errors);
        let value = taint.get("value");
        let problems = names::label_value(value.text());
        if !problems.is_empty() {
            errors.invalid(&value, value.text(), &problems.join(";"));
        }
        let effect = taint.get("effect");
        if effect.is_empty() {
            errors.required(&effect, "");
        } else {
            rules::one_of(&effect, EFFECTS, errors);
        }
        if !seen.insert((taint.str("key").to_owned(), effect.text().to_owned())) {
            let printed = internal::show("Taint", taint.value);
            let detail = "taints must be unique by key and effect pair";
            errors.other(&taint, Fault::Duplicate, format!("Duplicate value: {printed}: {detail}"));
        }
    }
}

/// In the order in which upstream names them.
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn resources(node: &Value, errors: &mut Errors) {
    let status = Field::top(node, "status");
    for list in ["capacity", "allocatable"] {
        let list = status.get(list);
        for (name, amount) in list.entries() {
            // Upstream's path names a resource as a field here, not as a key.
            let amount = Field::new(&list.child(name), amount.value);
            let Some(quantity) = Quantity::from_json(amount.value) else { continue };
            if quantity.is_negative() {
                errors.invalid(&amount, quantity.to_string(), "must be greater than or equal to 0");
            }
            if is_counted(name) && quantity.milli_value() % 1000 != 0 {
                errors.invalid(&amount, quantity.to_string(), "must be an integer");
            }
        }
    }
}

/// Resources that only come whole: pods, and what is named by a vendor's domain.
fn is_counted(resource: &str) -> bool {
    resource == "pods" || (resource.contains('/') && !resource.contains("kubernetes.io/"))
}

fn validate_change(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    resources(new, errors);
    let status = Field::top(new, "status");
    let addresses = status.get("addresses");
    let mut seen = HashSet::new();
    for address in addresses.items() {
        let (of_type, text) = (address.str("type"), address.str("address"));
        if !seen.insert((of_type.to_owned(), text.to_owned())) {
            errors.duplicate(&address, internal::show("NodeAddress", address.value));
        }
    }
    let (spec, old_spec) = (Field::top(new, "spec"), Field::top(old, "spec"));
    once(&spec.get("podCIDRs"), &old_spec.get("podCIDRs"), "podCIDR", errors);
    once(&spec.get("providerID"), &old_spec.get("providerID"), "providerID", errors);
    taints(new, errors);
}

/// What may be set once and then stays.
fn once(new: &Field, old: &Field, name: &str, errors: &mut Errors) {
    if !old.is_empty() && old.value != new.value {
        errors.forbidden(new, &format!("node updates may not change {name} except from \"\" to valid"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::NODE;

    #[test]
    fn what_is_left_out_is_filled_in() {
        let cases = [
            (
                json!({"spec": {"podCIDR": "10.1.0.0/24"}}),
                json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}),
            ),
            (
                json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.2.0.0/24"]}}),
                json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}),
            ),
            (
                json!({"status": {"capacity": {"cpu": "1"}}}),
                json!({"status": {"capacity": {"cpu": "1"}, "allocatable": {"cpu": "1"}}}),
            ),
        ];
        for (mut node, expected) in cases {
            default(&mut node);
            assert_eq!(node, expected);
        }
        let mut node = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
        prepare_create(&mut node);
        assert_eq!(node["spec"]["taints"][1], json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }

    #[test]
    fn faults_are_told_where_upstream_sees_them() {
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let cases = [
            (json!({"spec": {"taints": [taint("a", "NoSchedule"), taint("a", "NoExecute")]}}), &[][..]),
            (
                json!({"spec": {"taints": [taint("a", "NoSchedule"), taint("a", "NoSchedule")]}}),
                &["metadata.taints[1]"][..],
            ),
            (json!({"spec": {"taints": [taint("a", "")]}}), &["metadata.taints[0].effect"][..]),
            (
                json!({"status": {"capacity": {"cpu": "-1", "pods": "1500m"}}}),
                &["status.capacity.cpu", "status.capacity.pods"][..],
            ),
            (json!({"spec": {"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}}), &["spec.podCIDRs"][..]),
            (json!({"spec": {"podCIDRs": ["10.1.0.0", "fd00::/64"]}}), &["spec.podCIDRs[0]"][..]),
        ];
        for (mut node, expected) in cases {
            node["metadata"] = json!({"name": "n"});
            let mut errors = Errors::new();
            validate(&NODE, &node, &mut errors);
            assert_eq!(
                errors.0.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
                expected,
                "case: {node}"
            );
        }
    }

    #[test]
    fn some_fields_are_set_once() {
        let node = |provider: &str| json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"providerID": provider}});
        for (old, new, expected) in [("", "a", 0), ("a", "a", 0), ("a", "b", 1), ("a", "", 1)] {
            let mut errors = Errors::new();
            validate_change(&NODE, &node(new), &node(old), &mut errors);
            assert_eq!(errors.0.len(), expected, "case: {old:?} to {new:?}");
        }
    }
}
