//! `Namespace`.

use super::STATUS;
use super::strategy::PLAIN;
use crate::kind::{Kind, Selectable, Strategy, Subresource};
use crate::names;
use crate::read::text;
use crate::table::{Column, Table};

/// The row of `Namespace`.
pub static NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.core.v1.Namespace",
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: names::dns_label,
    subresources: &[Subresource { name: "finalize", gvk: None, verbs: &["update"] }, STATUS],
    selectable: &[Selectable::text("status.phase", &["/status/phase"])],
    table: &TABLE,
    strategy: &STRATEGY,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Status", "Active, or Terminating.", |namespace, _| text(namespace, "/status/phase").into()),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy { ..PLAIN };
