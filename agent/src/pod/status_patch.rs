//! The patch that makes the status in the API the one that the node wants there. Pure.
//!
//! ```text
//!  status known to be in the API, status wanted --difference--> strategic merge patch
//! ```
//!
//! A strategic merge patch only adds to lists that have a merge key, such as `podIPs`, unless it says what goes. So lists that
//! are the node's alone are replaced as a whole, and conditions, which others write too, one by one.

use coracle_api::kinds;
use serde_json::{Map, Value, json};

use super::conditions;

/// The conditions that a node answers for.
const CONDITIONS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    conditions::RESIZE_PENDING,
    conditions::RESIZING,
];
/// The fields that a node answers for, apart from conditions and the phase, which is always there: what its status does not
/// have, nobody has. Other fields, such as `qosClass`, are the API server's or a controller's.
const FIELDS: [&str; 11] = [
    "observedGeneration",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
];
/// What a condition may have or not.
const OPTIONAL: [&str; 3] = ["reason", "message", "observedGeneration"];

/// The strategic merge patch from one status to another; `None` if they are equal. Without a known status it makes the wanted
/// one from whatever is there.
pub fn difference(known: Option<&Value>, wanted: &Value) -> Option<Value> {
    let wanted = wanted.as_object()?;
    let old = |key: &str| known.and_then(|known| known.get(key));
    let mut changes = Map::new();
    for (key, value) in wanted.iter().filter(|(key, value)| old(key) != Some(*value)) {
        match value {
            Value::Array(items) if key == "conditions" => add_conditions(&mut changes, old(key), items),
            Value::Array(items) if is_merged(key) => {
                let whole = [json!({"$patch": "replace"})].into_iter().chain(items.iter().cloned());
                changes.insert(key.clone(), whole.collect());
            }
            value => drop(changes.insert(key.clone(), value.clone())),
        }
    }
    for key in FIELDS {
        if !wanted.contains_key(key) && (known.is_none() || old(key).is_some()) {
            changes.insert(key.into(), Value::Null);
        }
    }
    (!changes.is_empty()).then(|| changes.into())
}

/// Whether a strategic merge patch adds to a list of the status instead of replacing it.
fn is_merged(key: &str) -> bool {
    let status = kinds::POD.schema().child("status");
    let field = status.and_then(|status| status.fields()?.field(key));
    field.is_some_and(|field| field.patch.merge)
}

/// Adds the conditions that differ and the order of all. Those of others, written meanwhile, stay.
fn add_conditions(changes: &mut Map<String, Value>, known: Option<&Value>, wanted: &[Value]) {
    let old = known.and_then(Value::as_array);
    let holds = |list: &[Value], kind: &str| list.iter().any(|item| item["type"] == kind);
    let ours = wanted.iter().filter(|item| CONDITIONS.iter().any(|kind| item["type"] == *kind));
    let differs = |item: &&Value| !old.is_some_and(|old| old.contains(*item));
    let mut changed: Vec<Value> = ours.filter(differs).map(explicit).collect();
    let may_be_there = |kind: &str| old.is_none_or(|old| holds(old, kind));
    let gone = CONDITIONS.iter().filter(|kind| !holds(wanted, kind) && may_be_there(kind));
    changed.extend(gone.map(|kind| json!({"$patch": "delete", "type": kind})));
    let order: Vec<Value> = wanted.iter().map(|item| json!({"type": item["type"]})).collect();
    changes.insert("$setElementOrder/conditions".into(), order.into());
    if !changed.is_empty() {
        changes.insert("conditions".into(), changed.into());
    }
}

/// A condition whose missing fields are null, so that a patch removes them.
fn explicit(condition: &Value) -> Value {
    let mut condition = condition.clone();
    for key in OPTIONAL {
        if condition.get(key).is_none() {
            condition[key] = Value::Null;
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use coracle_api::decode::{FieldValidation, Target};
    use coracle_api::patch::{Kind, patch};
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let old = json!({"phase": "Pending", "hostIP": "1.2.3.4", "message": "m",
            "conditions": [{"type": "A", "status": "True"}, {"type": "Ready", "status": "False", "reason": "R"}]});
        let new = json!({"phase": "Running", "hostIP": "1.2.3.4",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "A", "status": "False"}]});
        let expected = json!({"phase": "Running", "message": null,
            "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "A"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null, "observedGeneration": null}]});
        assert_eq!(difference(Some(&old), &new), Some(expected));
        assert_eq!(difference(Some(&new), &new), None);
    }

    /// The pod as the API stores it once its status was patched.
    fn patched(status: &Value, changes: &Value) -> Value {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "status": status.clone()});
        let body = json!({"status": changes}).to_string();
        let target = Target::of(&kinds::POD);
        let decoded = patch(Kind::Strategic, &target, &pod, body.as_bytes(), FieldValidation::Strict);
        decoded.unwrap().value
    }

    fn conditions() -> impl Strategy<Value = Vec<Value>> {
        let kinds = subsequence(CONDITIONS.to_vec(), 1..=CONDITIONS.len());
        let details = subsequence(OPTIONAL.to_vec(), 0..=OPTIONAL.len());
        let one = (select(vec!["True", "False"]), details);
        let details = proptest::collection::vec(one, CONDITIONS.len());
        (kinds, details).prop_map(|(kinds, details)| {
            let one = |(kind, (status, details)): (&str, (&str, Vec<&str>))| {
                let mut condition = json!({"type": kind, "status": status});
                for key in details {
                    condition[key] = if key == "observedGeneration" { json!(3) } else { json!(key) };
                }
                condition
            };
            kinds.into_iter().zip(details).map(one).collect()
        })
    }

    fn containers() -> impl Strategy<Value = Value> {
        let one = |name: &str| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0});
        subsequence(vec!["a", "b", "c"], 1..=3).prop_map(move |names| names.into_iter().map(one).collect())
    }

    /// Any status that a node may want, without the conditions of others.
    fn statuses() -> impl Strategy<Value = Value> {
        let ips = || {
            subsequence(vec!["10.0.0.1", "10.0.0.2", "fd00::1"], 1..=3)
                .prop_map(|ips| ips.into_iter().map(|ip| json!({"ip": ip})).collect::<Value>())
        };
        let fields =
            (ips(), ips(), containers(), containers(), containers(), select(vec!["10.0.0.1", "10.0.0.2"]));
        let shown = subsequence(FIELDS.to_vec(), 0..=FIELDS.len());
        (select(vec!["Pending", "Running"]), conditions(), fields, shown).prop_map(
            |(phase, conditions, fields, shown)| {
                let (pod_ips, host_ips, init, mains, ephemeral, ip) = fields;
                let mut status = json!({"phase": phase, "conditions": conditions});
                for key in shown {
                    status[key] = match key {
                        "observedGeneration" => json!(7),
                        "podIPs" => pod_ips.clone(),
                        "hostIPs" => host_ips.clone(),
                        "initContainerStatuses" => init.clone(),
                        "containerStatuses" => mains.clone(),
                        "ephemeralContainerStatuses" => ephemeral.clone(),
                        "startTime" => json!("2026-01-01T00:00:00Z"),
                        _ => json!(ip),
                    };
                }
                status
            },
        )
    }

    proptest! {
        /// Whatever the API has, and whether the node knows it or not: the patch makes what is wanted, and leaves alone what
        /// is others'.
        #[test]
        fn the_patch_makes_what_is_wanted(mut old in statuses(), mut new in statuses(), is_known: bool) {
            let theirs = json!({"type": "example.com/gate", "status": "True"});
            for status in [&mut old, &mut new] {
                status["conditions"].as_array_mut().unwrap().push(theirs.clone());
            }
            let mut there = old.clone();
            let mut wanted = new.clone();
            for status in [&mut there, &mut wanted] {
                status["qosClass"] = json!("Burstable");
                status["resourceClaimStatuses"] = json!([{"name": "c"}]);
            }
            let changes = difference(is_known.then_some(&old), &new).unwrap_or(json!({}));
            prop_assert_eq!(patched(&there, &changes), patched(&wanted, &json!({})));
        }
    }
}
