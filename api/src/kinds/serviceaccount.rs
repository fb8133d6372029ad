//! `ServiceAccount`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, NameRule, Strategy, Subresource};

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
    name_rule: NameRule::Subdomain,
    subresources: &[Subresource {
        name: "token",
        gvk: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
    }],
    selectable: &[],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { delete_answers_object: true, ..PLAIN };
