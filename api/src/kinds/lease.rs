//! `Lease`.

use super::VERBS;
use super::strategy::PLAIN;
use crate::kind::{Kind, NameRule, Strategy};

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
    name_rule: NameRule::Subdomain,
    subresources: &[],
    selectable: &[],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { create_on_update: true, unconditional_update: false, ..PLAIN };
