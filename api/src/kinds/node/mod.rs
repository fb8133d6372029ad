//! `Node`.

mod table;

use std::collections::HashSet;

use serde_json::{Value, json};

use super::strategy::{PLAIN, keep};
use super::{Borrowed, Named, PROXY_VERBS, STATUS, Static, USUAL, core};
use crate::addresses;
use crate::defaults::{each, fill_absent};
use crate::field::{Errors, Fault, Field, Path, is_zero};
use crate::internal;
use crate::kind::{Exclusive, Kind, Selectable, Strategy};
use crate::names;
use crate::podspec::{TAINT_EFFECTS, amount};
use crate::read::{list, text};
use crate::validate::rules::{Rule::*, check};

/// The row of `Node`.
pub static NODE: Kind = Kind {
    kind: Borrowed("Node"),
    plural: Borrowed("nodes"),
    singular: Borrowed("node"),
    short_names: Borrowed("no"),
    namespaced: false,
    schema: Named("io.k8s.api.core.v1.Node"),
    claims: Some(Exclusive::PodRanges),
    subresources: Borrowed(&[core("proxy", "NodeProxyOptions", PROXY_VERBS), STATUS]),
    selectable: Borrowed(&[Selectable::switch("spec.unschedulable", &["/spec/unschedulable"])]),
    table: Static(&table::TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static STRATEGY: Strategy = Strategy {
    default: |_, object| default(object),
    prepare_create: |_, object| prepare_create(object),
    prepare_update: |_, new, old| keep(new, old, "status"),
    validate,
    validate_update: |kind, new, old, errors| {
        validate(kind, new, errors);
        validate_change(kind, new, old, errors);
    },
    validate_status_update: validate_change,
    warnings: |_, node, _| {
        let mut found = Vec::new();
        for (field, text) in [
            ("configSource", "the feature is removed"),
            ("externalID", "this field is deprecated, and is unused by Kubernetes"),
        ] {
            let given = node["spec"].get(field).is_some_and(|value| !is_zero(value));
            found.extend(given.then(|| format!("spec.{field}: {text}")));
        }
        for (index, range) in list(node, "/spec/podCIDRs").iter().enumerate() {
            let at = format!("spec.podCIDRs[{index}]");
            found.extend(addresses::cidr_warnings(&at, range.as_str().unwrap_or_default()));
        }
        found
    },
    ..PLAIN
};

/// The taint that keeps pods away until the node has reported that it is ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// `allocatable` is `capacity` where it is not given. `podCIDR` and the first of `podCIDRs` are the same range,
/// whichever of the two is given.
fn default(node: &mut Value) {
    each(node, "status", &mut |status| {
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
    let is_it = |taint: &Value| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule";
    let mut taints = list(node, "/spec/taints").to_vec();
    if !taints.iter().any(is_it) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    node["spec"]["taints"] = taints.into();
}

fn validate(kind: &Kind, node: &Value, errors: &mut Errors) {
    kind.check_metadata(node, errors);
    taints(node, errors);
    resources(node, errors);
    ranges(&Field::top(node, "spec").get("podCIDRs"), errors);
}

/// At most one range for each family.
fn ranges(ranges: &Field, errors: &mut Errors) {
    for range in ranges.items() {
        Name(names::cidr).check(&range, errors);
    }
    let parsed: Vec<_> = ranges.items().map(|range| addresses::cidr(range.text())).collect();
    if parsed.len() < 2 {
        return;
    }
    if let Some(wrong) = parsed.iter().position(Option::is_none) {
        let text = ranges.value[wrong].as_str().unwrap_or_default();
        let why = format!("invalid CIDR[{wrong}]: {text} (invalid CIDR address: {text})");
        let head = "Internal error: invalid PodCIDRs. failed to check with dual stack with error";
        errors.other(ranges, Fault::Internal, format!("{head}:{why}"));
    }
    let families: HashSet<bool> = parsed.iter().flatten().map(|(address, _)| address.is_ipv4()).collect();
    if families.len() < 2 || parsed.len() > 2 || parsed.contains(&None) {
        errors.wrong(ranges, "may specify no more than one CIDR for each IP family");
    }
    let mut seen = HashSet::new();
    for range in ranges.items().filter(|range| !seen.insert(range.text())) {
        errors.duplicate(&range, range.text());
    }
}

/// Source: `validateNodeTaints` in `pkg/apis/core/validation/validation.go`, which says `metadata` for where they lie.
fn taints(node: &Value, errors: &mut Errors) {
    let metadata = Path::root("metadata");
    let taints = Field::new(&metadata.child("taints"), node.pointer("/spec/taints").unwrap_or(&Value::Null));
    let mut seen = HashSet::new();
    for taint in taints.items() {
        Name(names::qualified_name).check(&taint.get("key"), errors);
        let value = taint.get("value");
        let problems = names::label_value(value.text());
        if !problems.is_empty() {
            errors.wrong(&value, &problems.join(";"));
        }
        check(&taint, &[("effect", NeededOneOf(TAINT_EFFECTS))], errors);
        if !seen.insert((taint.str("key"), taint.str("effect"))) {
            let printed = internal::show("Taint", taint.value);
            let detail = "taints must be unique by key and effect pair";
            errors.other(&taint, Fault::Duplicate, format!("Duplicate value: {printed}: {detail}"));
        }
    }
}

fn resources(node: &Value, errors: &mut Errors) {
    let status = Field::top(node, "status");
    for list in ["capacity", "allocatable"] {
        let list = status.get(list);
        for (name, value) in list.entries() {
            // Upstream's path names a resource as a field here, not as a key.
            amount(&Field::new(&list.child(name), value.value), name, errors);
        }
    }
}

fn validate_change(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    resources(new, errors);
    let mut seen = HashSet::new();
    for address in Field::top(new, "status").get("addresses").items() {
        if !seen.insert((address.str("type"), address.str("address"))) {
            errors.duplicate(&address, internal::show("NodeAddress", address.value));
        }
    }
    let (spec, before) = (Field::top(new, "spec"), Field::top(old, "spec"));
    let (now, was) = (list(new, "/spec/podCIDRs"), list(old, "/spec/podCIDRs"));
    let changes = match now.len() == was.len() {
        true => now.iter().zip(was).filter(|(now, was)| now != was).count(),
        false => usize::from(!was.is_empty()),
    };
    for _ in 0..changes {
        errors.forbidden(
            &spec.get("podCIDRs"),
            "node updates may not change podCIDR except from \"\" to valid",
        );
    }
    if before.has("providerID") && before.raw("providerID") != spec.raw("providerID") {
        errors.forbidden(
            &spec.get("providerID"),
            "node updates may not change providerID except from \"\" to valid",
        );
    }
    taints(new, errors);
    if before.str("externalID") != spec.str("externalID") {
        errors.forbidden(&spec.get("externalID"), "may not be updated");
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
            (json!({"spec": {"podCIDRs": ["10.1.0.0/24", "fd00::/64"]}}), &[][..]),
            (json!({"spec": {"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}}), &["spec.podCIDRs"][..]),
            (
                json!({"spec": {"podCIDRs": ["10.1.0.0/24", "10.1.0.0/24"]}}),
                &["spec.podCIDRs", "spec.podCIDRs[1]"][..],
            ),
            (
                json!({"spec": {"podCIDRs": ["10.1.0.0", "fd00::/64"]}}),
                &["spec.podCIDRs[0]", "spec.podCIDRs", "spec.podCIDRs"][..],
            ),
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
