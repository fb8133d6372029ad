//! `ServiceAccount`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, Strategy, Subresource};
use crate::names;
use crate::table::cells::count;
use crate::table::{Column, Table};

/// The row of `ServiceAccount`.
pub static SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.ServiceAccount",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[Subresource {
        name: "token",
        gvk: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
        change: None,
    }],
    selectable: &[],
    table: &TABLE,
    strategy: &STRATEGY,
    view: None,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Secrets", "How many secrets its pods may use.", |account, _| {
        count(account, "/secrets").into()
    }),
    Column::age(),
]);

static STRATEGY: Strategy = Strategy {
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        kind.check_metadata(new, errors);
    },
    delete_answers_object: true,
    ..PLAIN
};
