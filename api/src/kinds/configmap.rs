//! `ConfigMap`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, NameRule, Strategy};

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
    name_rule: NameRule::Subdomain,
    subresources: &[],
    selectable: &[],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
