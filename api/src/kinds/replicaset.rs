//! `ReplicaSet`.

use serde_json::json;

use super::strategy::{PLAIN, count_spec_changes, start_counting};
use super::workload::{self, CONTAINERS, IMAGES, SELECTOR};
use super::{Borrowed, Named, SCALE, STATUS, Static, USUAL};
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
    pod_spec: Some("/spec/template/spec"),
    subresources: Borrowed(&[SCALE, STATUS]),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::integer("Desired", "How many pods are wanted.", Number("/spec/replicas")),
        Column::integer("Current", "How many pods there are.", Number("/status/replicas")),
        Column::integer("Ready", "How many pods are ready.", Number("/status/readyReplicas")),
        Column::age(),
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ]),
    ..Table::PLAIN
};

static STRATEGY: Strategy = Strategy {
    default: |_, object| workload::default_template(object),
    prepare_create: |_, set| start_counting(set, json!({"replicas": 0})),
    prepare_update: |_, new, old| count_spec_changes(new, old),
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
    warnings: |_, new, old| workload::warnings(new, old),
    ..PLAIN
};

fn validate_spec(spec: &Field, errors: &mut Errors) {
    check(spec, &[("replicas minReadySeconds", NotNegative)], errors);
    workload::selector_and_template(spec, errors);
}
