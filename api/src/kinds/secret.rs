//! `Secret`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, NameRule, Selectable, Strategy};

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
    name_rule: NameRule::Subdomain,
    subresources: &[],
    selectable: &[Selectable::text("type", &["/type"])],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
