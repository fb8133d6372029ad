//! `Deployment`.

use super::strategy::PLAIN;
use super::{SCALE, STATUS, VERBS};
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::read::int;
use crate::table::{Column, Table, cells};

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
    name_rule: names::dns_subdomain,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    table: &TABLE,
    strategy: &STRATEGY,
    view: None,
};

static TABLE: Table = Table::of(&[
    Column::name(),
    Column::text("Ready", "How many pods are ready, of those wanted.", |deployment, _| {
        format!("{}/{}", int(deployment, "/status/readyReplicas"), int(deployment, "/spec/replicas")).into()
    }),
    Column::text("Up-to-date", "How many pods follow the newest template.", |deployment, _| {
        int(deployment, "/status/updatedReplicas").into()
    }),
    Column::text("Available", "How many pods have been ready for long enough.", |deployment, _| {
        int(deployment, "/status/availableReplicas").into()
    }),
    Column::age(),
    Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
    Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
    Column::text("Selector", "Which pods it owns.", cells::selector).wide(),
]);

static STRATEGY: Strategy = Strategy { ..PLAIN };
