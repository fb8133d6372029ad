//! `ConfigMap`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::table::cells::count;
use crate::table::{Column, Table};

/// The row of `ConfigMap`.
pub static CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.ConfigMap",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[],
    selectable: &[],
    table: &TABLE,
    strategy: &STRATEGY,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Data", "How many entries it has.", |map, _| {
        (count(map, "/data") + count(map, "/binaryData")).into()
    }),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy { ..PLAIN };
