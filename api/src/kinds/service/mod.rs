//! `Service`.

mod table;

use super::strategy::PLAIN;
use super::{PROXY_VERBS, STATUS, VERBS, core};
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;

/// The row of `Service`.
pub static SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Service",
    verbs: VERBS,
    name_rule: names::dns_label,
    subresources: &[core("proxy", "ServiceProxyOptions", PROXY_VERBS), STATUS],
    selectable: &[
        Selectable::text("spec.clusterIP", &["/spec/clusterIP"]),
        Selectable::text("spec.type", &["/spec/type"]),
    ],
    table: &table::TABLE,
    strategy: &STRATEGY,
    view: None,
};

static STRATEGY: Strategy = Strategy { create_on_update: true, delete_answers_object: true, ..PLAIN };
