//! `ReplicaSet`.

use serde_json::json;

use super::strategy::{PLAIN, count_spec_changes, start_counting};
use super::workload::{self, POD_COLUMNS};
use super::{Borrowed, CORE, Named, SCALE, STATUS, Static};
use crate::field::{Errors, Field};
use crate::kind::{Kind, Strategy};
use crate::table::{Cell::Number, Column, Table};
use crate::validate::rules::{Rule::NotNegative, check};

/// The row of `ReplicaSet`.
pub static REPLICA_SET: Kind = Kind {
    group: Borrowed("apps"),
    kind: Borrowed("ReplicaSet"),
    plural: Borrowed("replicasets"),
    singular: Borrowed("replicaset"),
    short_names: Borrowed("rs"),
    categories: Borrowed("all"),
    schema: Named("io.k8s.api.apps.v1.ReplicaSet"),
    subresources: Borrowed(&[SCALE, STATUS]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..CORE
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::integer("Desired", "How many pods are wanted.", Number("/spec/replicas")),
    Column::integer("Current", "How many pods there are.", Number("/status/replicas")),
    Column::integer("Ready", "How many pods are ready.", Number("/status/readyReplicas")),
    Column::age(),
    POD_COLUMNS[0],
    POD_COLUMNS[1],
    POD_COLUMNS[2],
]);

static STRATEGY: Strategy = Strategy {
    default: workload::default_template,
    prepare_create: |set| start_counting(set, json!({"replicas": 0})),
    prepare_update: count_spec_changes,
    validate: |kind, set, errors| {
        kind.check_metadata(set, errors);
        validate_spec(&Field::top(set, "spec"), errors);
    },
    validate_update: |kind, new, old, errors| {
        workload::validate_update(kind, new, old, validate_spec, errors)
    },
    validate_status_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        let all = "replicas fullyLabeledReplicas readyReplicas availableReplicas terminatingReplicas observedGeneration";
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        workload::counts(&Field::top(new, "status"), all, &parts, errors);
    },
    warnings: workload::warnings,
    ..PLAIN
};

fn validate_spec(spec: &Field, errors: &mut Errors) {
    check(spec, &[("replicas minReadySeconds", NotNegative)], errors);
    workload::selector_and_template(spec, errors);
}
