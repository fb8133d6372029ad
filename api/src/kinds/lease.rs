//! `Lease`.

use serde_json::Value;

use super::strategy::{PLAIN, clear};
use super::{Borrowed, Named, Static, USUAL};
use crate::field::{Errors, Field};
use crate::kind::{Kind, Strategy};
use crate::table::{Cell::Text, Column, Table};
use crate::validate::rules::{Rule::*, check};

/// The row of `Lease`.
pub static LEASE: Kind = Kind {
    group: Borrowed("coordination.k8s.io"),
    kind: Borrowed("Lease"),
    plural: Borrowed("leases"),
    singular: Borrowed("lease"),
    schema: Named("io.k8s.api.coordination.v1.Lease"),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Holder", "Who holds it.", Text("/spec/holderIdentity")),
        Column::age(),
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    prepare_create: |_, object| drop_coordination(object),
    prepare_update: |_, lease, _| drop_coordination(lease),
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
    let table =
        [("leaseDurationSeconds", AtLeast(1, "must be greater than 0")), ("leaseTransitions", NotNegative)];
    check(&Field::top(lease, "spec"), &table, errors);
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
