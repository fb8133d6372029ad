//! The thin shell: events into the brain, its decisions into writes.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Object, Status, kinds};
use coracle_client::{Client, Clock, EventRecorder, Informers, Op, Running, Store, Stored, Typed, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference, Pod};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::brain::{Brain, Refused, Turn};
use crate::profile::{Config, ConfigError};

/// How many pods are decided on before their bindings go out together.
const ROUND: usize = 256;
/// How many batches may be on their way at once: one on the disk, one after it, and room for the answers.
const IN_FLIGHT: usize = 4;
/// How long a batch may take before its fate counts as unknown.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest sleep when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Starts the scheduler; it ends when `stop` is cancelled. Must be called inside a tokio runtime.
///
/// # Errors
/// A profile or score that does not exist.
pub fn start(
    client: Arc<dyn Client>,
    config: &Config,
    clock: Clock,
    stop: CancellationToken,
) -> Result<Running, ConfigError> {
    let informers = Informers::new(client.clone());
    let shell = Arc::new(Shell {
        brain: Mutex::new(Brain::new(config)?),
        rung: Notify::new(),
        recorder: EventRecorder::reporting(
            client.clone(),
            clock.clone(),
            &config.scheduler_name,
            &config.scheduler_name,
        ),
        name: config.scheduler_name.clone(),
        client,
        clock,
    });
    let filled = informers.clone();
    Ok(Running { informers, task: tokio::spawn(async move { shell.run(filled, stop).await }) })
}

struct Shell {
    /// Held for a round of decisions or one event, never over an await.
    brain: Mutex<Brain>,
    /// Something changed.
    rung: Notify,
    client: Arc<dyn Client>,
    clock: Clock,
    recorder: EventRecorder,
    name: String,
}

impl Shell {
    async fn run(self: Arc<Self>, informers: Informers, stop: CancellationToken) {
        // The brain keeps of each pod what it needs; a typed copy beside that would be the dearest thing in this process.
        let pods = informers.store_as::<Object>(Pod::kind());
        let stores = (informers.store::<Namespace>(), informers.store::<Node>(), pods);
        let watching = tokio::spawn({
            let (informers, stop) = (informers.clone(), stop.clone());
            async move { informers.run(stop).await }
        });
        // Decisions wait until all is known, or the first pods would crowd on the first nodes.
        if informers.synced_or_cancelled(&stop).await {
            self.listen(&stores.0, &stores.1, &stores.2);
            stop.run_until_cancelled(self.clone().decide()).await;
        }
        if let Err(error) = watching.await {
            tracing::error!(%error, "the scheduler's informers broke off");
        }
    }

    /// Every change goes into the brain as it happens; what is there already comes first.
    fn listen(self: &Arc<Self>, namespaces: &Store<Namespace>, nodes: &Store<Node>, pods: &Store<Object>) {
        let shell = self.clone();
        namespaces.on_change(move |change| {
            let meta = &change.object().metadata;
            let labels = change.new.map(|n| n.metadata.labels.clone().unwrap_or_default());
            let name = meta.name.as_deref().unwrap_or_default();
            shell.brain.lock().namespace(name, labels, change.revision, shell.clock.now());
            shell.rung.notify_one();
        });
        let shell = self.clone();
        nodes.on_change(move |change| {
            let name = change.object().metadata.name.as_deref().unwrap_or_default();
            let new = change.new.map(|n| &**n);
            shell.brain.lock().node(name, new, change.revision, shell.clock.now());
            shell.rung.notify_one();
        });
        let shell = self.clone();
        pods.on_change(move |change| {
            let (now, revision) = (shell.clock.now(), change.revision);
            let key = &change.object().key;
            match change.new {
                Some(new) if change.old.is_some_and(|old| is_same_here(&old.json, &new.json)) => return,
                Some(new) => match Pod::read(new) {
                    Ok(pod) => shell.brain.lock().pod(&pod, revision, now),
                    Err(error) => tracing::error!(%key, %error, "object does not fit its type; left out"),
                },
                None => {
                    let key = format!("{}/{}", key.namespace, key.name);
                    shell.brain.lock().gone(&key, revision, now);
                }
            }
            shell.rung.notify_one();
        });
    }

    /// Decides in rounds; the writes of one round are on their way while the next is decided.
    async fn decide(self: Arc<Self>) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            let now = self.clock.now();
            let (turns, due) = {
                let mut brain = self.brain.lock();
                let due = brain.tick(now);
                (brain.round(ROUND, now), due)
            };
            if turns.is_empty() {
                let wait = due.map_or(IDLE, |due| until(now, due).min(IDLE));
                // Either way the next round finds out what there is to do.
                let _ = tokio::time::timeout(wait, self.rung.notified()).await;
                continue;
            }
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            let shell = self.clone();
            tokio::spawn(async move {
                shell.settle(turns).await;
                drop(permit);
            });
        }
    }

    /// Writes a round and tells the brain what became of it.
    async fn settle(&self, turns: Vec<Turn>) {
        let now = self.clock.now();
        let (mut writes, mut written, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
        for mut turn in turns {
            if let Some(verdict) = turn.verdict.take() {
                match serde_json::to_value(verdict) {
                    Ok(value) => verdicts.push((pod_key(&turn), value)),
                    Err(error) => tracing::warn!(pod = %turn.key, %error, "verdict not encoded"),
                }
            }
            if let Some(op) = op(&turn, now) {
                writes.push(Write { op, causes: turn.pod.causes(), actor: self.name.clone() });
                written.push(turn);
            }
        }
        // First the explanation: whoever sees the outcome may ask why at once.
        if !verdicts.is_empty()
            && let Err(error) = self.client.report(verdicts).await
        {
            tracing::debug!(%error, "verdicts not reported");
        }
        if writes.is_empty() {
            return;
        }
        let outcomes = match tokio::time::timeout(WRITE_TIMEOUT, self.client.write(writes)).await {
            Ok(Ok(outcomes)) => outcomes.into_iter().map(|outcome| outcome.map(drop)).collect(),
            Ok(Err(error)) => vec![Err(unknown(&error.to_string())); written.len()],
            Err(_) => vec![Err(unknown("no answer in time")); written.len()],
        };
        for (turn, outcome) in written.iter().zip(outcomes) {
            self.conclude(turn, outcome);
        }
        self.rung.notify_one();
    }

    fn conclude(&self, turn: &Turn, outcome: Result<(), Status>) {
        let (key, uid) = (&turn.key, &turn.pod.uid);
        match (&turn.outcome, outcome) {
            (Ok(node), Ok(())) => {
                self.brain.lock().bound(key, uid);
                tracing::info!(pod = %key, %node, "bound");
                let message = format!("Successfully assigned {key} to {node}");
                self.recorder.emit(reference(turn), "Normal", "Scheduled", "Binding", message);
            }
            (Ok(node), Err(status)) => {
                tracing::info!(pod = %key, %node, error = status.message, "not bound");
                self.brain.lock().unbound(key, uid, self.clock.now());
            }
            (Err(refused), outcome) => {
                tracing::info!(pod = %key, why = refused.message, "no node");
                if let Err(status) = outcome {
                    tracing::debug!(pod = %key, error = status.message, "condition not written");
                    self.brain.lock().unsaid(key, uid);
                } else {
                    let message = refused.message.clone();
                    self.recorder.emit(reference(turn), "Warning", "FailedScheduling", "Scheduling", message);
                }
            }
        }
    }
}

/// Whether a change of a placed pod leaves everything as it is that decisions depend on: most are of its status. Both are compared
/// as text, so that these are never decoded.
fn is_same_here(old: &[u8], new: &[u8]) -> bool {
    let (old, new) = (Placed::read(old), Placed::read(new));
    old.is_some() && old == new
}

/// What decisions depend on of a pod that has a node, as its text.
#[derive(PartialEq)]
struct Placed<'a> {
    uid: Option<&'a str>,
    labels: Option<&'a str>,
    is_going: bool,
    spec: &'a str,
    has_ended: bool,
}

impl Placed<'_> {
    /// Nothing for a pod that waits for a node, of which everything counts.
    fn read(json: &[u8]) -> Option<Placed<'_>> {
        #[derive(Deserialize)]
        struct Pod<'a> {
            #[serde(borrow)]
            metadata: Meta<'a>,
            #[serde(borrow)]
            spec: &'a RawValue,
            #[serde(borrow)]
            status: Option<Status<'a>>,
        }
        #[derive(Deserialize)]
        struct Meta<'a> {
            #[serde(borrow)]
            uid: Option<&'a RawValue>,
            #[serde(borrow)]
            labels: Option<&'a RawValue>,
            #[serde(rename = "deletionTimestamp")]
            deleted: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Spec {
            #[serde(rename = "nodeName")]
            node: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Status<'a> {
            #[serde(borrow)]
            phase: Option<&'a RawValue>,
        }
        let Pod { metadata: Meta { uid, labels, deleted }, spec, status } =
            serde_json::from_slice(json).ok()?;
        serde_json::from_str::<Spec>(spec.get()).ok()?.node?;
        let phase = status.and_then(|status| status.phase).map(RawValue::get);
        Some(Placed {
            uid: uid.map(RawValue::get),
            labels: labels.map(RawValue::get),
            is_going: deleted.is_some(),
            spec: spec.get(),
            has_ended: matches!(phase, Some("\"Succeeded\"" | "\"Failed\"")),
        })
    }
}

/// The write that a turn asks for; a refusal that the pod's condition already shows asks for none.
fn op(turn: &Turn, now: Timestamp) -> Option<Op> {
    let key = pod_key(turn);
    match &turn.outcome {
        Ok(node) => Some(Op::bind(&key, &turn.pod.uid, node)),
        Err(Refused { is_news: false, .. }) => None,
        Err(refused) => {
            let mut condition = json!({
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "reason": "Unschedulable",
                "message": refused.message,
            });
            if let Some(generation) = turn.pod.generation {
                condition["observedGeneration"] = json!(generation);
            }
            if refused.turns_false {
                condition["lastTransitionTime"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            }
            let patch = json!({
                "metadata": { "uid": turn.pod.uid },
                "status": { "conditions": [condition] },
            });
            Some(Op::strategic_status(key, patch))
        }
    }
}

fn pod_key(turn: &Turn) -> Key {
    Key::new(&kinds::POD, turn.pod.namespace.clone(), turn.pod.name.clone())
}

fn reference(turn: &Turn) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(turn.pod.namespace.clone()),
        name: Some(turn.pod.name.clone()),
        uid: Some(turn.pod.uid.clone()),
        resource_version: Some(turn.pod.revision.to_string()),
        field_path: None,
    }
}

/// Nobody knows whether the write happened; the watch will show it.
fn unknown(why: &str) -> Status {
    Status::internal(why.to_string())
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    due.duration_since(now).try_into().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_pod_concerns_nobody_while_only_its_status_changes() {
        let pod = |change: serde_json::Value| {
            let mut object = json!({
                "metadata": { "name": "p", "uid": "u", "labels": { "app": "web" } },
                "spec": { "nodeName": "n", "containers": [{ "name": "c" }] },
                "status": { "phase": "Pending" },
            });
            for (path, value) in change.as_object().expect("an object") {
                *object.pointer_mut(path).expect("a place in a pod") = value.clone();
            }
            object.to_string()
        };
        let cases = [
            ("its phase", json!({ "/status/phase": "Running" }), true),
            ("it has ended", json!({ "/status/phase": "Failed" }), false),
            ("its labels", json!({ "/metadata/labels/app": "db" }), false),
            ("a namesake", json!({ "/metadata/uid": "v" }), false),
            ("its node", json!({ "/spec/nodeName": "m" }), false),
            ("no node yet", json!({ "/spec/nodeName": null }), false),
        ];
        for (name, change, expected) in cases {
            let (old, new) = (pod(json!({})), pod(change));
            assert_eq!(is_same_here(old.as_bytes(), new.as_bytes()), expected, "case: {name}");
        }
    }
}
