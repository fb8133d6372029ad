//! Writes a pod's status into the API: the latest only, and only what has changed.

use std::sync::Arc;
use std::time::Duration;

use coracle_client::{Error, Op, Write};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::conditions;
use crate::context::Context;
use coracle_api::{Key, Revision};

/// What a pod's worker wants the API to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The status; `None` before the first.
    pub status: Option<Value>,
    /// Whether the pod is over and the API may forget it.
    pub finish: bool,
}

/// Keeps the API's copy of one pod's status as the worker wants it, until the worker is gone.
pub async fn report(ctx: Arc<Context>, pod: Arc<Pod>, mut wanted: watch::Receiver<Wanted>) {
    let key = Context::key(&pod);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // The revision at which the agent first saw the pod, its binding, is the cause of all that it reports.
    let cause = pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).map(Revision);
    let known = pod.status.as_ref().map(|status| serde_json::to_value(status).unwrap_or_default());
    let mut known = known.unwrap_or_default();
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(10));
    let mut finished = false;
    while wanted.changed().await.is_ok() {
        loop {
            let want = wanted.borrow_and_update().clone();
            match write_changes(&ctx, &key, &uid, cause, &mut known, &want, &mut finished).await {
                Ok(true) => break,
                // Gone, or another pod has the name: nothing left to say.
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(pod = %key, %error, "cannot report; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
        backoff.reset();
    }
}

/// Writes what differs. `false`: the pod is gone.
async fn write_changes(
    ctx: &Context,
    key: &Key,
    uid: &str,
    cause: Option<Revision>,
    known: &mut Value,
    want: &Wanted,
    finished: &mut bool,
) -> Result<bool, Error> {
    let write =
        |op: Op| Write { actor: "kubelet".into(), causes: cause.into_iter().collect(), ..Write::from(op) };
    if let Some(status) = &want.status
        && let Some(changes) = difference(known, status)
    {
        let patch = json!({"metadata": {"uid": uid}, "status": changes});
        match ctx.client.write_one(write(Op::strategic_status(key.clone(), patch))).await {
            Ok(_) => *known = status.clone(),
            Err(Error::Refused(status)) if matches!(status.code, 404 | 409) => return Ok(false),
            Err(Error::Refused(refusal)) => {
                tracing::warn!(pod = %key, message = refusal.message, "the API refuses a status");
                *known = status.clone();
            }
            Err(error) => return Err(error),
        }
    }
    if want.finish && !*finished {
        let delete = Op::Delete {
            key: key.clone(),
            uid: Some(uid.to_owned()),
            revision: None,
            grace_seconds: Some(0),
            propagation: None,
        };
        match ctx.client.write_one(write(delete)).await {
            Ok(_) => *finished = true,
            Err(Error::Refused(status)) if matches!(status.code, 404 | 409) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The conditions that a node answers for.
const OURS: [&str; 6] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    conditions::RESIZE_PENDING,
    conditions::RESIZING,
];

/// The strategic merge patch from one status to another; `None` if they are equal. Conditions are written one by one, so
/// that those of others, written meanwhile, stay.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let empty = Map::new();
    let (old, new) = (from.as_object().unwrap_or(&empty), to.as_object()?);
    let mut changes = Map::new();
    for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
        if key != "conditions" {
            changes.insert(key.clone(), value.clone());
            continue;
        }
        let items = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let known = old.get("conditions").map(items).unwrap_or_default();
        let wanted = items(value);
        let ours = wanted.iter().filter(|item| OURS.iter().any(|kind| item["type"] == *kind));
        let mut changed: Vec<Value> = ours.filter(|item| !known.contains(item)).map(explicit).collect();
        let is_gone = |kind: &&&str| {
            known.iter().any(|item| item["type"] == **kind)
                && !wanted.iter().any(|item| item["type"] == **kind)
        };
        changed.extend(OURS.iter().filter(is_gone).map(|kind| json!({"$patch": "delete", "type": kind})));
        let order: Vec<Value> = wanted.iter().map(|item| json!({"type": item["type"]})).collect();
        changes.insert("$setElementOrder/conditions".into(), order.into());
        if !changed.is_empty() {
            changes.insert("conditions".into(), changed.into());
        }
    }
    for key in ["message", "reason", "initContainerStatuses"] {
        if old.contains_key(key) && !new.contains_key(key) {
            changes.insert(key.into(), Value::Null);
        }
    }
    (!changes.is_empty()).then(|| changes.into())
}

/// A condition whose missing fields are null, so that a patch removes them.
fn explicit(condition: &Value) -> Value {
    let mut condition = condition.clone();
    for key in ["reason", "message"] {
        if condition.get(key).is_none() {
            condition[key] = Value::Null;
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let old = json!({"phase": "Pending", "hostIP": "1.2.3.4", "message": "m",
            "conditions": [{"type": "A", "status": "True"}, {"type": "Ready", "status": "False", "reason": "R"}]});
        let new = json!({"phase": "Running", "hostIP": "1.2.3.4",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "A", "status": "False"}]});
        let expected = json!({"phase": "Running", "message": null,
            "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "A"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}]});
        assert_eq!(difference(&old, &new), Some(expected));
        assert_eq!(difference(&new, &new), None);
    }
}
