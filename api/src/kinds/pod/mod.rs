//! `Pod`. What its spec may say stands in [`crate::podspec`], since the templates of workloads say the same.

mod app_armor;
mod defaults;
mod prepare;
mod resize;
mod status;
mod table;
mod update;

use super::strategy::PLAIN;
use super::{Borrowed, Named, PROXY_VERBS, STATUS, Static, USUAL, core, whole};
use crate::kind::{Deletion, Kind, Selectable, Strategy, Subresource, SubresourceWrite};
use crate::podspec::{pod_warnings, validate_pod};

/// The row of `Pod`.
pub static POD: Kind = Kind {
    kind: Borrowed("Pod"),
    plural: Borrowed("pods"),
    singular: Borrowed("pod"),
    short_names: Borrowed("po"),
    categories: Borrowed("all"),
    schema: Named("io.k8s.api.core.v1.Pod"),
    pod_spec: Some("/spec"),
    deletion: Deletion::Graceful,
    subresources: Borrowed(&[
        Subresource { by_node: true, ..core("attach", "PodAttachOptions", &["create", "get"]) },
        core("binding", "Binding", &["create"]),
        Subresource { write: Some(&EPHEMERAL), ..whole("ephemeralcontainers") },
        Subresource { gvk: Some(("policy", "v1", "Eviction")), ..core("eviction", "Eviction", &["create"]) },
        Subresource { by_node: true, ..core("exec", "PodExecOptions", &["create", "get"]) },
        Subresource { name: "log", verbs: &["get"], by_node: true, ..Subresource::PLAIN },
        core("portforward", "PodPortForwardOptions", &["create", "get"]),
        core("proxy", "PodProxyOptions", PROXY_VERBS),
        Subresource { write: Some(&RESIZE), ..whole("resize") },
        STATUS,
    ]),
    selectable: Borrowed(&[
        Selectable::text("spec.nodeName", &["/spec/nodeName"]),
        Selectable::text("spec.restartPolicy", &["/spec/restartPolicy"]),
        Selectable::text("spec.schedulerName", &["/spec/schedulerName"]),
        Selectable::text("spec.serviceAccountName", &["/spec/serviceAccountName"]),
        Selectable::switch("spec.hostNetwork", &["/spec/hostNetwork"]),
        Selectable::text("status.phase", &["/status/phase"]),
        Selectable::text("status.podIP", &["/status/podIP"]),
        Selectable::text("status.podIPs", &["/status/podIP"]),
        Selectable::text("status.nominatedNodeName", &["/status/nominatedNodeName"]),
    ]),
    table: Static(&table::TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static STRATEGY: Strategy = Strategy {
    default: |_, object| defaults::complete_pod(object),
    prepare_create: |_, object| prepare::prepare_create(object),
    prepare_update: |_, new, old| prepare::prepare_update(new, old),
    prepare_status_update: |_, new, old| prepare::prepare_status_update(new, old),
    validate: |kind, pod, errors| {
        kind.check_metadata(pod, errors);
        validate_pod(pod, errors);
    },
    validate_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        kind.check_metadata(new, errors);
        update::validate_pod_update(new, old, errors);
    },
    validate_status_update: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        status::validate_pod_status_update(new, old, errors);
    },
    early_warnings: |_, object| app_armor::app_armor_warnings(object),
    warnings: |_, new, old| pod_warnings(new, old),
    delete_answers_object: true,
    ..PLAIN
};

static EPHEMERAL: SubresourceWrite = SubresourceWrite {
    prepare: |_, new, old| prepare::prepare_ephemeral_update(new, old),
    validate: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        kind.check_metadata(new, errors);
        update::validate_ephemeral_update(new, old, errors);
    },
};

static RESIZE: SubresourceWrite = SubresourceWrite {
    prepare: |_, new, old| prepare::prepare_resize(new, old),
    validate: |kind, new, old, errors| {
        kind.check_metadata_update(new, old, errors);
        kind.check_metadata(new, errors);
        resize::validate_resize(new, old, errors);
    },
};
