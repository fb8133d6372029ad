//! `ReplicaSet`.

use super::strategy::PLAIN;
use super::{SCALE, STATUS, VERBS};
use crate::kind::{Kind, NameRule, Strategy};

/// The row of `ReplicaSet`.
pub static REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.apps.v1.ReplicaSet",
    verbs: VERBS,
    name_rule: NameRule::Subdomain,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    columns: &[],
    strategy: &STRATEGY,
};

static STRATEGY: Strategy = Strategy { ..PLAIN };
