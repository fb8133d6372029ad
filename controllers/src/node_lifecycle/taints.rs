//! The taints that a node's conditions call for.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::health::{condition, has_failed, ready};
use crate::time;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// Which taint keeps new pods away while a condition has a status.
const FROM_CONDITIONS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Whether a node may lose its pods now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It may.
    Allowed,
    /// Not yet: others of its zone come first.
    Later,
    /// Not at all: no node anywhere is ready, so the fault is probably in the control plane.
    Off,
}

/// Whether the node's pods should be evicted and no taint evicts them yet: then `Eviction` decides.
pub fn awaits_eviction(node: &Node) -> bool {
    has_failed(node) && !of(node).iter().any(|taint| taint.effect == NO_EXECUTE && is_ours(taint))
}

/// All taints of the node as they should be; `None` if they are so.
pub fn wanted(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let old = of(node);
    let wanted = keys(node, eviction);
    let stays = |taint: &&Taint| {
        let managed = match taint.effect.as_str() {
            NO_SCHEDULE => taint.key == UNSCHEDULABLE || FROM_CONDITIONS.iter().any(|row| row.2 == taint.key),
            NO_EXECUTE => is_ours(taint),
            _ => false,
        };
        // A node that has yet to say whether it is ready keeps the taint that it was created with.
        let unsaid = ready(node).is_none() && is_ours(taint);
        !managed || unsaid || wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect)
    };
    let mut new: Vec<Taint> = old.iter().filter(stays).cloned().collect();
    for (key, effect) in wanted {
        if !new.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let (key, effect, time_added) = (key.into(), effect.into(), Some(time::seconds(now)));
            new.push(Taint { key, effect, time_added, value: None });
        }
    }
    (new != old).then_some(new)
}

fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

fn is_ours(taint: &Taint) -> bool {
    taint.key == NOT_READY || taint.key == UNREACHABLE
}

fn keys(node: &Node, eviction: Eviction) -> Vec<(&'static str, &'static str)> {
    let holds = |row: &&(&str, &str, &'static str)| condition(node, row.0).is_some_and(|c| c.status == row.1);
    let mut keys: Vec<(&str, &str)> =
        FROM_CONDITIONS.iter().filter(holds).map(|row| (row.2, NO_SCHEDULE)).collect();
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        keys.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let tainted = of(node).iter().any(|taint| taint.effect == NO_EXECUTE && is_ours(taint));
    let evict = match eviction {
        Eviction::Allowed => true,
        // A change between not ready and unreachable need not wait: the pods were evicted already.
        Eviction::Later => tainted,
        Eviction::Off => false,
    };
    match ready(node) {
        Some("False") if evict => keys.push((NOT_READY, NO_EXECUTE)),
        Some("Unknown") if evict => keys.push((UNREACHABLE, NO_EXECUTE)),
        _ => {}
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn words(taints: &[Taint]) -> Vec<String> {
        taints
            .iter()
            .map(|t| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect))
            .collect()
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        use Eviction::{Allowed, Later, Off};
        let taint =
            |key: &str, effect: &str| json!({"key": format!("node.kubernetes.io/{key}"), "effect": effect});
        let own = json!({"key": "a", "effect": "NoSchedule"});
        let is = |of_type: &str, status: &str| json!({"type": of_type, "status": status});
        type Case<'a> = (&'a str, Value, Value, Eviction, Option<&'a [&'a str]>);
        let cases: Vec<Case<'_>> = vec![
            (
                "becomes ready",
                json!([is("Ready", "True")]),
                json!([own, taint("not-ready", "NoSchedule")]),
                Later,
                Some(&["a:NoSchedule"]),
            ),
            ("has not said", json!([]), json!([taint("not-ready", "NoSchedule")]), Allowed, None),
            (
                "not ready",
                json!([is("Ready", "False")]),
                json!([]),
                Allowed,
                Some(&["not-ready:NoSchedule", "not-ready:NoExecute"]),
            ),
            (
                "silent, others first",
                json!([is("Ready", "Unknown")]),
                json!([]),
                Later,
                Some(&["unreachable:NoSchedule"]),
            ),
            (
                "from not ready to silent",
                json!([is("Ready", "Unknown")]),
                json!([taint("not-ready", "NoExecute")]),
                Later,
                Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]),
            ),
            (
                "all are silent",
                json!([is("Ready", "Unknown")]),
                json!([taint("unreachable", "NoExecute")]),
                Off,
                Some(&["unreachable:NoSchedule"]),
            ),
            (
                "pressure",
                json!([is("Ready", "True"), is("DiskPressure", "True")]),
                json!([]),
                Later,
                Some(&["disk-pressure:NoSchedule"]),
            ),
            (
                "a person's NoExecute stays",
                json!([is("Ready", "True")]),
                json!([{"key": "k", "effect": "NoExecute"}]),
                Later,
                None,
            ),
        ];
        for (name, conditions, taints, eviction, expected) in cases {
            let node: Node = serde_json::from_value(
                json!({"spec": {"taints": taints}, "status": {"conditions": conditions}}),
            )
            .expect("a node");
            let got = wanted(&node, eviction, testing::time(0).0);
            let expected =
                expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            assert_eq!(got.as_deref().map(words), expected, "case: {name}");
        }
    }
}
