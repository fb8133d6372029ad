//! `Namespace`.

use super::STATUS;
use super::strategy::PLAIN;
use crate::kind::{Kind, NameRule, Selectable, Strategy, Subresource};

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
    name_rule: NameRule::Label,
    subresources: &[Subresource { name: "finalize", gvk: None, verbs: &["update"] }, STATUS],
    selectable: &[Selectable::text("status.phase", &["/status/phase"])],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
