//! `Event`.

use super::VERBS;
mod table;

use super::strategy::PLAIN;
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;

/// The row of `Event`.
pub static EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Event",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[],
    selectable: &[
        Selectable::text("involvedObject.kind", &["/involvedObject/kind"]),
        Selectable::text("involvedObject.namespace", &["/involvedObject/namespace"]),
        Selectable::text("involvedObject.name", &["/involvedObject/name"]),
        Selectable::text("involvedObject.uid", &["/involvedObject/uid"]),
        Selectable::text("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
        Selectable::text("involvedObject.resourceVersion", &["/involvedObject/resourceVersion"]),
        Selectable::text("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
        Selectable::text("reason", &["/reason"]),
        Selectable::text("reportingComponent", &["/reportingComponent"]),
        Selectable::text("source", &["/source/component", "/reportingComponent"]),
        Selectable::text("type", &["/type"]),
    ],
    table: &table::TABLE,
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { create_on_update: true, ..PLAIN };
