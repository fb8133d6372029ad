//! The thin shell: events into the brain, its decisions into writes.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Status, kinds};
use coracle_client::{Client, Clock, EventRecorder, Informers, Op, Running, Store, Write};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, ObjectReference, Pod};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::brain::{Brain, Refused, Turn};
use crate::profile::{Config, ConfigError};

/// How many pods are decided on before their bindings go out together.
const ROUND: usize = 256;
/// How many batches may be on their way at once: one on the disk, one behind it, and room for the answers.
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
        let stores = (informers.store::<Namespace>(), informers.store::<Node>(), informers.store::<Pod>());
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
    fn listen(self: &Arc<Self>, namespaces: &Store<Namespace>, nodes: &Store<Node>, pods: &Store<Pod>) {
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
            let now = shell.clock.now();
            match change.new {
                Some(pod) if change.old.is_some_and(|old| is_same_here(old, pod)) => return,
                Some(pod) => shell.brain.lock().pod(pod, change.revision, now),
                None => {
                    let meta = &change.object().metadata;
                    let namespace = meta.namespace.as_deref().unwrap_or_default();
                    let key = format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default());
                    shell.brain.lock().gone(&key, change.revision, now);
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

/// Whether a change of a placed pod leaves everything as it is that decisions depend on: most are of its status.
fn is_same_here(old: &Pod, new: &Pod) -> bool {
    let node = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let meta = |pod: &Pod| {
        let meta = &pod.metadata;
        (meta.uid.clone(), meta.deletion_timestamp.is_some())
    };
    node(old)
        && node(new)
        && ended(old) == ended(new)
        && meta(old) == meta(new)
        && old.metadata.labels == new.metadata.labels
        && old.spec == new.spec
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
            serde_json::from_value::<Pod>(object).expect("a pod")
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
            assert_eq!(is_same_here(&pod(json!({})), &pod(change)), expected, "case: {name}");
        }
    }
}
