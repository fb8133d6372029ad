//! What came of the worker's tasks.

use std::time::Duration;

use tokio::task::JoinError;

use super::measure::MEASURE;
use super::state::{Done, Worker};
use super::tasks::{AFTER_PANIC, REFRESH};
use crate::labels::SANDBOX;
use crate::pod::Failure;
use crate::spec::full_name;
use crate::times::seconds_later;

/// Waits before a container is tried to be removed again: the first, and the longest.
const REMOVE_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Worker {
    pub(super) async fn finish(&mut self, done: Result<Done, JoinError>) {
        // A panic is caught in the task; an error says only that a probe was aborted.
        let Ok(done) = done else { return };
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
                    Ok(()) => drop(self.refused.remove(&name)),
                    Err(failure) => drop(self.refused.insert(name, failure)),
                }
                self.look(&id, false).await;
            }
            Done::Stopped { name, id, serial } => {
                if self.tasks.get(&name).is_some_and(|task| task.serial == serial) {
                    self.end(&name);
                }
                self.look(&id, false).await;
            }
            Done::Removed { name, id, failed } => {
                self.removing.remove(&id);
                if failed {
                    let backoff = self.ctx.backoff(REMOVE_AGAIN.0, REMOVE_AGAIN.1);
                    self.removals.entry(id.clone()).or_insert(backoff);
                }
                self.look(&id, false).await;
                tracing::trace!(container = name, "removed");
            }
            Done::Refreshed(refreshed) => {
                self.refreshing = false;
                self.refreshed = refreshed;
            }
            Done::ProbeEnded { key, result } => {
                if result.is_err() {
                    tracing::error!(pod = full_name(&self.pod), container = key.0, "a probe panicked");
                    // It is asked again from the next look on.
                    self.probes.remove(&key);
                }
            }
            Done::ReporterEnded { result } => {
                if result.is_err() {
                    tracing::error!(pod = full_name(&self.pod), "writing the pod's status panicked");
                    self.start_reporter();
                }
            }
            Done::Measured(measured) => self.note_measured(measured),
            Done::Panicked { name, serial } => {
                tracing::error!(pod = full_name(&self.pod), name, "a task of the pod's worker panicked");
                self.refreshing &= name != REFRESH;
                if name == MEASURE {
                    self.measuring_panicked();
                }
                if self.tasks.get(&name).is_some_and(|task| task.serial == serial) {
                    self.end(&name);
                    let until = seconds_later(self.ctx.clock.now(), AFTER_PANIC);
                    let message = "the agent failed; see its log".to_owned();
                    self.failures.insert(name, Failure { reason: String::new(), message, until });
                }
            }
        }
    }
}
