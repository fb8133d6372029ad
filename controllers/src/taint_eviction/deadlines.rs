//! Which pods a node's NoExecute taints drive away, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::workload::uid;

/// When each pod of a node has to be evicted, by uid. Pods that may stay are left out.
pub type Deadlines = BTreeMap<String, Timestamp>;

/// What admission adds to pods that say nothing themselves about nodes that fail.
const DEFAULT_SECONDS: i64 = 300;
const FAILED: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The node's taints that drive pods away.
pub fn no_execute(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").collect()
}

/// When the pods have to go. With each taint comes the time from which it counts; `default` is how long the tolerations last
/// that admission adds.
pub fn deadlines(pods: &[Arc<Pod>], taints: &[(&Taint, Timestamp)], default: Duration) -> Deadlines {
    let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying.filter_map(|pod| Some((uid(&pod.metadata).to_owned(), deadline(pod, taints, default)?))).collect()
}

fn deadline(pod: &Pod, taints: &[(&Taint, Timestamp)], default: Duration) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let created = pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let limits = taints.iter().filter_map(|(taint, since)| {
        // A pod that came later than the taint has its time from then on.
        let since = (*since).max(created);
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Some(since);
        };
        let wait = match toleration.toleration_seconds? {
            DEFAULT_SECONDS if FAILED.contains(&taint.key.as_str()) => {
                SignedDuration::try_from(default).ok()?
            }
            seconds => SignedDuration::from_secs(seconds.max(0)),
        };
        Some(since.checked_add(wait).unwrap_or(Timestamp::MAX))
    });
    limits.min()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let operator = toleration.operator.as_deref().unwrap_or("Equal");
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || key.is_empty() && operator == "Exists")
        && (operator == "Exists" || operator == "Equal" && value(&toleration.value) == value(&taint.value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{pod, time};

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let taint = |key: &str| Taint {
            key: key.into(),
            value: Some("v".into()),
            effect: "NoExecute".into(),
            time_added: None,
        };
        let (k, z, lost) = (taint("k"), taint("z"), taint("node.kubernetes.io/unreachable"));
        let added =
            json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300});
        let forever = json!({"key": "k", "operator": "Exists", "effect": "NoExecute"});
        let two = json!({"key": "k", "operator": "Exists", "tolerationSeconds": 2});
        let cases: Vec<(&str, Value, Vec<&Taint>, Option<i64>)> = vec![
            ("no toleration", json!([]), vec![&k], Some(100)),
            ("for ever", json!([forever]), vec![&k], None),
            ("two seconds", json!([two]), vec![&k], Some(102)),
            ("another value", json!([{"key": "k", "operator": "Equal", "value": "w"}]), vec![&k], Some(100)),
            (
                "another effect",
                json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]),
                vec![&k],
                Some(100),
            ),
            ("one of two", json!([forever]), vec![&k, &z], Some(100)),
            ("everything", json!([{"operator": "Exists"}]), vec![&k, &z], None),
            (
                "negative is at once",
                json!([{"operator": "Exists", "tolerationSeconds": -1}]),
                vec![&k],
                Some(100),
            ),
            ("what admission adds", json!([added]), vec![&lost], Some(115)),
            ("no taint", json!([]), vec![], None),
        ];
        for (name, tolerations, taints, expected) in cases {
            let pods = [Arc::new(pod("a").spec("tolerations", tolerations).created(50).build())];
            let taints: Vec<_> = taints.into_iter().map(|taint| (taint, time(100).0)).collect();
            let got = deadlines(&pods, &taints, Duration::from_secs(15)).get("a-uid").copied();
            assert_eq!(got, expected.map(|at| time(at).0), "case: {name}");
        }
    }
}
