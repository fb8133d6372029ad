//! How a node shows in `kubectl get nodes`.

use std::borrow::Cow::Borrowed;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read::{entries, is_true, list, text};
use crate::table::Cell::{Computed, Text};
use crate::table::cells::{or, or_none};
use crate::table::{Column, Table};

pub(super) static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text(
            "Status",
            "Whether the node is ready, and takes pods.",
            Computed(|node, _| status(node).into()),
        ),
        Column::text("Roles", "What its labels say it is for.", Computed(|node, _| or_none(&roles(node)))),
        Column::age(),
        Column::text("Version", "The version of its agent.", Text("/status/nodeInfo/kubeletVersion")),
        Column::text(
            "Internal-IP",
            "Its address inside.",
            Computed(|node, _| or_none(address(node, "InternalIP"))),
        )
        .wide(),
        Column::text(
            "External-IP",
            "Its address outside.",
            Computed(|node, _| or_none(address(node, "ExternalIP"))),
        )
        .wide(),
        Column::text("OS-Image", "The operating system.", Computed(|node, _| info(node, "osImage"))).wide(),
        Column::text("Kernel-Version", "The kernel, and the architecture.", Computed(|node, _| kernel(node)))
            .wide(),
        Column::text(
            "Container-Runtime",
            "What runs containers.",
            Computed(|node, _| info(node, "containerRuntimeVersion")),
        )
        .wide(),
    ]),
    ..Table::PLAIN
};

fn status(node: &Value) -> String {
    // Of several conditions of one type the last one counts.
    let ready = list(node, "/status/conditions").iter().rev().find(|c| text(c, "/type") == "Ready");
    let word = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if is_true(node, "/spec/unschedulable") { format!("{word},SchedulingDisabled") } else { word.into() }
}

fn roles(node: &Value) -> String {
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let roles: BTreeSet<String> =
        entries(node, "/metadata/labels").filter_map(role).filter(|r| !r.is_empty()).collect();
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(node: &'a Value, of_type: &str) -> &'a str {
    let found = list(node, "/status/addresses").iter().find(|address| text(address, "/type") == of_type);
    found.map_or("", |address| text(address, "/address"))
}

fn info(node: &Value, field: &str) -> Value {
    or(text(&node["status"]["nodeInfo"], &format!("/{field}")), "<unknown>")
}

fn kernel(node: &Value) -> Value {
    let kernel = text(node, "/status/nodeInfo/kernelVersion");
    match text(node, "/status/nodeInfo/architecture") {
        architecture if !kernel.is_empty() && !architecture.is_empty() => {
            format!("{kernel} ({architecture})").into()
        }
        _ => or(kernel, "<unknown>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_in_words() {
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        let cases = [
            (json!({"status": ready("True")}), "Ready"),
            (json!({"status": ready("Unknown")}), "NotReady"),
            (json!({"status": {}}), "Unknown"),
            (json!({"status": ready("True"), "spec": {"unschedulable": true}}), "Ready,SchedulingDisabled"),
        ];
        for (node, expected) in cases {
            assert_eq!(status(&node), expected, "case: {node}");
        }
        let labels = json!({"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "builder", "node-role.kubernetes.io/": ""});
        assert_eq!(roles(&json!({"metadata": {"labels": labels}})), "builder,worker");
    }
}
