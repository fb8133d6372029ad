//! `Pod`.

use super::strategy::PLAIN;
use super::{PROXY_VERBS, STATUS, VERBS, core, same};
use crate::kind::{Kind, Selectable, Strategy, Subresource};
use crate::names;

/// The row of `Pod`.
pub static POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Pod",
    verbs: VERBS,
    name_rule: names::dns_subdomain,
    subresources: &[
        core("attach", "PodAttachOptions", &["create", "get"]),
        core("binding", "Binding", &["create"]),
        same("ephemeralcontainers"),
        Subresource { name: "eviction", gvk: Some(("policy", "v1", "Eviction")), verbs: &["create"] },
        core("exec", "PodExecOptions", &["create", "get"]),
        Subresource { name: "log", gvk: None, verbs: &["get"] },
        core("portforward", "PodPortForwardOptions", &["create", "get"]),
        core("proxy", "PodProxyOptions", PROXY_VERBS),
        same("resize"),
        STATUS,
    ],
    selectable: &[
        Selectable::text("spec.nodeName", &["/spec/nodeName"]),
        Selectable::text("spec.restartPolicy", &["/spec/restartPolicy"]),
        Selectable::text("spec.schedulerName", &["/spec/schedulerName"]),
        Selectable::text("spec.serviceAccountName", &["/spec/serviceAccountName"]),
        Selectable { field: "spec.hostNetwork", read: &["/spec/hostNetwork"], zero: "false" },
        Selectable::text("status.phase", &["/status/phase"]),
        Selectable::text("status.podIP", &["/status/podIP"]),
        Selectable::text("status.podIPs", &["/status/podIP"]),
        Selectable::text("status.nominatedNodeName", &["/status/nominatedNodeName"]),
    ],
    table: &crate::pod::table::TABLE,
    strategy: &STRATEGY,
    view: None,
};

static STRATEGY: Strategy = Strategy { delete_answers_object: true, ..PLAIN };
