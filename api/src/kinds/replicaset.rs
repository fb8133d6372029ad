//! `ReplicaSet`.

use super::strategy::PLAIN;
use super::{SCALE, STATUS, VERBS};
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::read::int;
use crate::table::{Column, Table, cells};

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

static STRATEGY: Strategy = Strategy { ..PLAIN };
