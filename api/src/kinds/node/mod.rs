//! `Node`.

mod table;

use super::strategy::PLAIN;
use super::{PROXY_VERBS, STATUS, VERBS, core};
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;

/// The row of `Node`.
pub static NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.core.v1.Node",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[core("proxy", "NodeProxyOptions", PROXY_VERBS), STATUS],
    selectable: &[Selectable { field: "spec.unschedulable", read: &["/spec/unschedulable"], zero: "false" }],
    table: &table::TABLE,
    strategy: &STRATEGY,
    view: None,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
