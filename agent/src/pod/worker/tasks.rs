//! What a worker has done beside itself: each thing in a task of its own, which says what it came to.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::measure::Measured;
use crate::context::Tone;
use crate::labels::SANDBOX;
use crate::pod::start::{Start, Started};
use crate::pod::stop::Stop;
use crate::pod::{Busy, Failure, find};
use crate::runtime::Limits;

/// What a task of the worker came to.
pub(super) enum Done {
    Sandbox(Result<Started, Failure>),
    Started { name: String, outcome: Result<String, Failure> },
    Resized { name: String, id: String, outcome: Result<Limits, Failure> },
    Stopped { name: String, turn: u64 },
    Removed { name: String, id: String },
    Refreshed,
    Measured(Measured),
}

/// A task that is under way.
pub(super) struct Task {
    pub(super) cancel: CancellationToken,
    pub(super) ended: CancellationToken,
    turn: u64,
}

impl Worker {
    /// Notes that something is being done, and gives what the doing needs.
    fn begin(&mut self, name: &str, busy: Busy) -> (Start, u64) {
        self.turns += 1;
        let task =
            Task { cancel: CancellationToken::new(), ended: CancellationToken::new(), turn: self.turns };
        let start = Start {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            accepted: self.accepted,
            target: None,
            cancel: task.cancel.clone(),
        };
        self.busy.insert(name.to_owned(), busy);
        if let Some(old) = self.tasks.insert(name.to_owned(), task) {
            old.cancel.cancel();
        }
        (start, self.turns)
    }

    fn end(&mut self, name: &str) {
        self.busy.remove(name);
        self.tasks.remove(name);
    }

    pub(super) fn start_sandbox(&mut self, attempt: u32) {
        let (start, _) = self.begin(SANDBOX, Busy::Starting);
        let done = self.done.clone();
        tokio::spawn(async move {
            let _ = done.send(Done::Sandbox(start.sandbox(attempt).await)).await;
        });
    }

    pub(super) fn start_container(&mut self, name: String, attempt: u32, backoff: u64) {
        let (Some(sandbox), Some(address)) = (&self.sandbox, self.address) else { return };
        let sandbox = Started { id: sandbox.id.clone(), address };
        let (mut start, _) = self.begin(&name, Busy::Starting);
        start.target = self.target_of(&name);
        let done = self.done.clone();
        tokio::spawn(async move {
            let outcome = start.container(&name, attempt, backoff, &sandbox).await;
            let _ = done.send(Done::Started { name, outcome }).await;
        });
    }

    /// The container whose processes an ephemeral one is to see.
    fn target_of(&self, name: &str) -> Option<String> {
        let beside = self.pod.spec.as_ref()?.ephemeral_containers.as_deref()?;
        let target = beside.iter().find(|one| one.name == name)?.target_container_name.as_deref()?;
        self.containers
            .get(target)?
            .last()
            .filter(|record| record.state.is_running())
            .map(|record| record.id.clone())
    }

    pub(super) fn stop(&mut self, name: String, id: String, message: String, grace: u64) {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let record = self.containers.get(&name).and_then(|all| all.last());
        let signal = record.map(|record| record.stop_signal.clone()).unwrap_or_else(|| "SIGTERM".into());
        let Some((container, _)) = find(&spec, &name) else { return };
        let again = matches!(self.busy.get(&name), Some(Busy::Stopping { .. }));
        if !again {
            self.ctx.tell(&self.pod, Some(&name), Tone::Normal, "Killing", message);
        }
        let patience = SignedDuration::from_secs(i64::try_from(grace.max(2)).unwrap_or(i64::MAX / 2));
        let deadline = self.ctx.clock.now().checked_add(patience).unwrap_or(Timestamp::MAX);
        let (_, turn) = self.begin(&name, Busy::Stopping { deadline });
        let Some(task) = self.tasks.get(&name) else { return };
        let lifecycle = container.lifecycle.as_ref();
        let own_signal =
            lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()).filter(|own| !own.is_empty());
        let stop = Stop {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            container: container.clone(),
            id,
            signal: own_signal.unwrap_or(signal),
            address: self.address.unwrap_or(self.ctx.host()),
            grace: Duration::from_secs(grace),
            ended: task.ended.clone(),
            cancel: task.cancel.clone(),
        };
        let done = self.done.clone();
        tokio::spawn(async move {
            stop.run().await;
            let _ = done.send(Done::Stopped { name, turn }).await;
        });
    }

    pub(super) fn resize(&mut self, name: String, id: String, limits: Limits) {
        let (start, _) = self.begin(&name, Busy::Resizing);
        let done = self.done.clone();
        tokio::spawn(async move {
            let outcome = start.resize(&name, &id, &limits).await.map(|()| limits);
            let _ = done.send(Done::Resized { name, id, outcome }).await;
        });
    }

    pub(super) fn remove(&mut self, name: String, id: String) {
        if !self.removing.insert(id.clone()) {
            return;
        }
        let (ctx, done) = (self.ctx.clone(), self.done.clone());
        tokio::spawn(async move {
            if let Err(error) = ctx.runtime().remove(&id).await {
                tracing::warn!(container = id, %error, "cannot remove");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let _ = done.send(Done::Removed { name, id }).await;
        });
    }

    pub(super) async fn finish(&mut self, done: Done) {
        match done {
            Done::Sandbox(outcome) => {
                self.end(SANDBOX);
                match outcome {
                    Ok(started) => {
                        self.failures.remove(SANDBOX);
                        self.address = Some(started.address);
                        self.look(&started.id, false).await;
                    }
                    Err(failure) => drop(self.failures.insert(SANDBOX.into(), failure)),
                }
            }
            Done::Started { name, outcome } => {
                self.end(&name);
                match outcome {
                    Ok(id) => {
                        self.failures.remove(&name);
                        self.look(&id, false).await;
                    }
                    Err(failure) => drop(self.failures.insert(name, failure)),
                }
            }
            Done::Resized { name, id, outcome } => {
                self.end(&name);
                match outcome {
                    Ok(limits) => {
                        self.refused.remove(&name);
                        self.granted.insert(id.clone(), limits);
                    }
                    Err(failure) => drop(self.refused.insert(name, failure)),
                }
                self.look(&id, false).await;
            }
            Done::Stopped { name, turn } => {
                if self.tasks.get(&name).is_some_and(|task| task.turn == turn) {
                    self.end(&name);
                    let id =
                        self.containers.get(&name).and_then(|all| all.last()).map(|record| record.id.clone());
                    if let Some(id) = id {
                        self.look(&id, false).await;
                    }
                }
            }
            Done::Removed { name, id } => {
                self.removing.remove(&id);
                self.look(&id, false).await;
                tracing::trace!(container = name, "removed");
            }
            Done::Refreshed => self.refreshing = false,
            Done::Measured(measured) => self.note_measured(measured),
        }
    }

    /// Brings mounted ConfigMaps, Secrets and the like up to date.
    pub(super) fn refresh(&mut self) {
        let spec = self.pod.spec.as_ref();
        let mut volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
        let changing = volumes.any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.downward_api.is_some()
                || volume.projected.is_some()
        });
        let up = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.running);
        if !changing || !up || self.refreshing || self.pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        self.refreshing = true;
        let start = Start {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            accepted: self.accepted,
            target: None,
            cancel: CancellationToken::new(),
        };
        let (address, done) = (self.address, self.done.clone());
        tokio::spawn(async move {
            if let Err(failure) = start.mount_volumes(address).await {
                tracing::debug!(message = failure.message, "cannot refresh volumes");
            }
            let _ = done.send(Done::Refreshed).await;
        });
    }
}
