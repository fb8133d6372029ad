//! Writes a pod's status into the API: the latest only, and only what has changed.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Revision, Status};
use coracle_client::{Error, Op, Write};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::status_patch;
use crate::context::Context;
use crate::event_type::EventType;

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
    let known = pod.status.as_ref().and_then(|status| serde_json::to_value(status).ok());
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(10));
    let mut reporter = Reporter {
        key: Context::key(&pod),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        cause: pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).map(Revision),
        ctx,
        pod,
        known,
        refusal: String::new(),
        finished: false,
    };
    while wanted.changed().await.is_ok() {
        loop {
            let want = wanted.borrow_and_update().clone();
            match reporter.write(&want).await {
                Ok(true) => break,
                // Gone, or another pod has the name: nothing left to say.
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(pod = %reporter.key, %error, "cannot report; trying again");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
        backoff.reset();
    }
}

struct Reporter {
    ctx: Arc<Context>,
    pod: Arc<Pod>,
    key: Key,
    uid: String,
    /// The revision at which the agent first saw the pod, its binding: the cause of all that it reports.
    cause: Option<Revision>,
    /// The status that the API has; `None` where that is not known, so that it is written whole.
    known: Option<Value>,
    /// Why the API refused the last status; empty where it did not.
    refusal: String,
    /// Whether the API has forgotten the pod.
    finished: bool,
}

impl Reporter {
    fn as_kubelet(&self, op: Op) -> Write {
        Write { actor: "kubelet".into(), causes: self.cause.into_iter().collect(), ..Write::from(op) }
    }

    /// Writes what differs. `false`: the pod is gone.
    async fn write(&mut self, want: &Wanted) -> Result<bool, Error> {
        let mut refused = None;
        if let Some(status) = &want.status
            && let Some(changes) = status_patch::difference(self.known.as_ref(), status)
        {
            let patch = json!({"metadata": {"uid": self.uid}, "status": changes});
            let write = self.as_kubelet(Op::strategic_status(self.key.clone(), patch));
            match self.ctx.client.write_one(write).await {
                Ok(_) => {
                    self.known = Some(status.clone());
                    self.refusal.clear();
                }
                Err(Error::Refused(status)) if matches!(status.code, 404 | 409) => return Ok(false),
                Err(Error::Refused(status)) => {
                    self.tell(&status);
                    self.known = None;
                    refused = Some(status);
                }
                Err(error) => return Err(error),
            }
        }
        // A pod that is over goes, though its last status was refused.
        if want.finish && !self.finished {
            let delete = Op::Delete {
                key: self.key.clone(),
                uid: Some(self.uid.clone()),
                revision: None,
                grace_seconds: Some(0),
                propagation: None,
            };
            match self.ctx.client.write_one(self.as_kubelet(delete)).await {
                Ok(_) => self.finished = true,
                Err(Error::Refused(status)) if matches!(status.code, 404 | 409) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(true), |status| Err(Error::Refused(status)))
    }

    /// Says why a status was refused, once for each reason: what the API shows of the pod is old until it is taken.
    fn tell(&mut self, refused: &Status) {
        if self.refusal == refused.message {
            return;
        }
        self.refusal.clone_from(&refused.message);
        tracing::warn!(pod = %self.key, message = refused.message, "the API refuses a status");
        let message = format!("The API refuses the status of the pod: {}", refused.message);
        self.ctx.emit(&self.pod, None, EventType::Warning, "FailedStatusUpdate", message);
    }
}
