//! `Lease`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::read::text;
use crate::table::{Column, Table};

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
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Holder", "Who holds it.", |lease, _| text(lease, "/spec/holderIdentity").into()),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy { create_on_update: true, unconditional_update: false, ..PLAIN };
