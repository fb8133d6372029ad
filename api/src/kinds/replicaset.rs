//! `ReplicaSet`.

use serde_json::json;

use super::strategy::{PLAIN, count_spec_changes, start_counting};
use super::workload;
use super::{SCALE, STATUS, VERBS};
use crate::defaults::{fill_absent, within};
use crate::field::{Errors, Field};
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::pod::default_pod_template;
use crate::read::int;
use crate::table::{Column, Table, cells};
use crate::validate::rules;

/// The row of `ReplicaSet`.
pub static REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.apps.v1.ReplicaSet",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    table: &TABLE,
    strategy: &STRATEGY,
    view: None,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::integer("Desired", "How many pods are wanted.", |set, _| int(set, "/spec/replicas").into()),
    Column::integer("Current", "How many pods there are.", |set, _| int(set, "/status/replicas").into()),
    Column::integer("Ready", "How many pods are ready.", |set, _| int(set, "/status/readyReplicas").into()),
    Column::age(),
    Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
    Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
    Column::text("Selector", "Which pods it owns.", cells::selector).wide(),
]);

static STRATEGY: Strategy = Strategy {
    default: |set| {
        fill_absent(set, "spec", json!({}));
        within(set, "spec", |spec| {
            fill_absent(spec, "replicas", 1);
            fill_absent(spec, "template", json!({}));
            within(spec, "template", default_pod_template);
        });
    },
    prepare_create: |set| start_counting(set, json!({"replicas": 0})),
    prepare_update: count_spec_changes,
    validate: |kind, set, errors| {
        kind.check_metadata(set, errors);
        validate_spec(&Field::top(set, "spec"), errors);
    },
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        let (spec, old) = (Field::top(new, "spec"), Field::top(old, "spec"));
        validate_spec(&spec, errors);
        rules::immutable(&spec.get("selector"), &old.get("selector"), errors);
    },
    validate_status_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        let all = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ];
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        workload::counts(&Field::top(new, "status"), &all, &parts, errors);
    },
    warnings: workload::warnings,
    ..PLAIN
};

fn validate_spec(spec: &Field, errors: &mut Errors) {
    rules::non_negative(&spec.get("replicas"), errors);
    rules::non_negative(&spec.get("minReadySeconds"), errors);
    workload::selector_and_template(spec, errors);
}
