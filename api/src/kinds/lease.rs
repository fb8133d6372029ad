//! `Lease`.

use serde_json::Value;

use super::VERBS;
use super::strategy::{PLAIN, clear};
use crate::field::{Errors, Field};
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::read::text;
use crate::table::{Column, Table};
use crate::validate::rules;

/// The row of `Lease`.
pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.coordination.v1.Lease",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[],
    selectable: &[],
    table: &TABLE,
    strategy: &STRATEGY,
    view: None,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Holder", "Who holds it.", |lease, _| text(lease, "/spec/holderIdentity").into()),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy {
    prepare_create: |lease| drop_coordination(lease),
    prepare_update: |lease, _| drop_coordination(lease),
    validate: |kind, lease, errors| {
        kind.check_metadata(lease, errors);
        validate_spec(lease, errors);
    },
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        validate_spec(new, errors);
    },
    create_on_update: true,
    unconditional_update: false,
    ..PLAIN
};

/// Coordinated leader election is not on by default: its fields are not kept.
fn drop_coordination(lease: &mut Value) {
    if let Some(spec) = lease.get_mut("spec") {
        clear(spec, "strategy");
        clear(spec, "preferredHolder");
    }
}

fn validate_spec(lease: &Value, errors: &mut Errors) {
    let spec = Field::top(lease, "spec");
    rules::at_least(&spec.get("leaseDurationSeconds"), 1, "must be greater than 0", errors);
    rules::non_negative(&spec.get("leaseTransitions"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_bounds() {
        let mut errors = Errors::new();
        validate_spec(&json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}), &mut errors);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"
            ]
        );
    }
}
