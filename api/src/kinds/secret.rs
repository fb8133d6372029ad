//! `Secret`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;
use crate::read::text;
use crate::table::cells::count;
use crate::table::{Column, Table};

/// The row of `Secret`.
pub static SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Secret",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[],
    selectable: &[Selectable::text("type", &["/type"])],
    table: &TABLE,
    strategy: &STRATEGY,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Type", "What its entries are for.", |secret, _| text(secret, "/type").into()),
    Column::text("Data", "How many entries it has.", |secret, _| count(secret, "/data").into()),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy { ..PLAIN };
