//! Whether a node still reports, and what its conditions become when it does not.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::{conditions, time};

/// The conditions that only the node itself can report.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The node's condition of a type.
pub fn condition<'a>(node: &'a Node, of_type: &str) -> Option<&'a NodeCondition> {
    conditions::find(node.status.as_ref()?.conditions.as_ref()?, of_type)
}

/// `True`, `False`, `Unknown`; `None` for a node that has yet to say.
pub fn ready(node: &Node) -> Option<&str> {
    condition(node, "Ready").map(|ready| ready.status.as_str())
}

/// Whether it is known not to be ready.
pub fn has_failed(node: &Node) -> bool {
    matches!(ready(node), Some("False" | "Unknown"))
}

/// The conditions of a node that is no longer heard of; `None` if they say so already.
pub fn silenced(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let status = node.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for of_type in VOUCHED {
        match conditions.iter_mut().find(|condition| condition.type_ == of_type) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                changed = true;
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(time::seconds(now));
            }
            None => {
                changed = true;
                conditions.push(NodeCondition {
                    type_: of_type.into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusNeverUpdated".into()),
                    message: Some("Kubelet never posted node status.".into()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(time::seconds(now)),
                });
            }
        }
    }
    changed.then_some(conditions)
}

/// Whether one state of a node is a sign of life after another: its kubelet has posted a status.
pub fn is_sign_of_life(old: &Node, new: &Node) -> bool {
    let heartbeats = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions
            .map(|c| (c.type_.clone(), c.status.clone(), c.last_heartbeat_time.clone()))
            .collect::<Vec<_>>()
    };
    // Conditions that this controller wrote itself are no sign of life.
    ready(new) != Some("Unknown") && heartbeats(old) != heartbeats(new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn node(conditions: serde_json::Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}}))
            .expect("a node")
    }

    #[test]
    fn a_silent_node_is_unknown_in_all_that_it_vouched_for() {
        let now = testing::time(9).0;
        let said = node(
            json!([{"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "False"}]),
        );
        let written = silenced(&said, now).expect("a change");
        let words: Vec<_> = written
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            words,
            [
                ("Ready", "Unknown", "NodeStatusUnknown"),
                ("NetworkUnavailable", "False", "-"),
                ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("DiskPressure", "Unknown", "NodeStatusNeverUpdated"),
                ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
            ]
        );
        let silent = node(json!(written));
        assert_eq!(silenced(&silent, now), None, "said once");
        assert!(!is_sign_of_life(&said, &silent), "our own words");
        assert!(is_sign_of_life(&silent, &said));
    }
}
