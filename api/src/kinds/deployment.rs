//! `Deployment`.

use super::strategy::PLAIN;
use super::{SCALE, STATUS, VERBS};
use crate::kind::{Kind, NameRule, Strategy};

/// The row of `Deployment`.
pub static DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.apps.v1.Deployment",
    verbs: VERBS,
    name_rule: NameRule::Subdomain,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
