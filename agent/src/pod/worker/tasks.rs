//! The worker's tasks. Everything slow is done in a task, which answers what came of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::backoff::Backoff;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::{Done, Refreshed, Stopping, Task, Worker};
use crate::event_type::EventType;
use crate::labels::SANDBOX;
use crate::pod::start::{Start, Started};
use crate::pod::stop::{SHORTEST, Stop};
use crate::pod::{Busy, reporter, resize};
use crate::runtime::Limits;
use crate::spec::find;
use crate::times::{instant_later, seconds_later};

/// The name of the task that refreshes volumes: no container can be called so.
pub(super) const REFRESH: &str = "REFRESH";
/// How many seconds what a panic has ended waits for its next try.
pub(super) const AFTER_PANIC: u64 = 5;

/// How often the files of volumes are compared though nothing that they are made of has changed: somebody else may have
/// changed them.
const LOOK_AT_FILES: Duration = Duration::from_secs(60);

impl Worker {
    /// Notes that something is being done with a container, and answers what the task needs for it.
    fn begin(&mut self, name: &str, busy: Busy) -> (Start, u64) {
        self.serials += 1;
        let task = Task { cancel: CancellationToken::new(), serial: self.serials, stop: None };
        let start = Start {
            ctx: self.ctx.clone(),
            pod: self.as_allocated(),
            accepted: self.accepted,
            target: None,
            previous: None,
            cancel: task.cancel.clone(),
        };
        self.busy.insert(name.to_owned(), busy);
        if let Some(old) = self.tasks.insert(name.to_owned(), task) {
            old.cancel.cancel();
            old.stop.inspect(|stop| stop.ended.cancel());
        }
        (start, self.serials)
    }

    /// The pod with the resources that its node has allocated to it.
    fn as_allocated(&self) -> Arc<Pod> {
        resize::as_allocated(&self.observed()).map_or_else(|| self.pod.clone(), Arc::new)
    }

    pub(super) fn end(&mut self, name: &str) {
        self.busy.remove(name);
        self.tasks.remove(name);
    }

    /// Starts a task. A panic in it ends only the task.
    pub(super) fn spawn(
        &mut self,
        name: &str,
        serial: u64,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        let name = name.to_owned();
        let work = AssertUnwindSafe(work).catch_unwind();
        self.work.spawn(async move { work.await.unwrap_or(Done::Panicked { name, serial }) });
    }

    pub(super) fn start_sandbox(&mut self, attempt: u32) {
        let (start, serial) = self.begin(SANDBOX, Busy::Starting);
        self.spawn(SANDBOX, serial, async move { Done::Sandbox(start.sandbox(attempt).await) });
    }

    pub(super) fn start_container(&mut self, name: String, attempt: u32, backoff: u64) {
        let (Some(sandbox), Some(address)) = (&self.sandbox, self.address) else { return };
        let sandbox = Started { id: sandbox.id.clone(), address };
        let (mut start, serial) = self.begin(&name, Busy::Starting);
        start.target = self.target_of(&name);
        let attempts = self.containers.get(&name);
        start.previous =
            attempts.and_then(|all| all.iter().rfind(|record| !record.gone)).map(|record| record.id.clone());
        self.spawn(&name.clone(), serial, async move {
            let outcome = start.container(&name, attempt, backoff, &sandbox).await;
            Done::Started { name, outcome }
        });
    }

    /// The container whose processes an ephemeral one is to see.
    fn target_of(&self, name: &str) -> Option<String> {
        let ephemeral = self.pod.spec.as_ref()?.ephemeral_containers.as_deref()?;
        let target = ephemeral.iter().find(|one| one.name == name)?.target_container_name.as_deref()?;
        self.containers
            .get(target)?
            .last()
            .filter(|record| record.state.is_running())
            .map(|record| record.id.clone())
    }

    /// Ends a container within the grace. While that is under way, another call for it moves only the deadline: the hook
    /// runs once, and the signal is sent once.
    pub(super) fn stop(&mut self, name: String, id: String, message: String, grace: u64) {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let Some((container, _)) = find(&spec, &name) else { return };
        let timer = instant_later(Instant::now(), Duration::from_secs(grace));
        let deadline = seconds_later(self.ctx.clock.now(), grace.max(SHORTEST.as_secs()));
        let under_way =
            self.tasks.get(&name).and_then(|task| task.stop.as_ref()).filter(|stop| stop.id == id);
        if let Some(stop) = under_way {
            stop.deadline.send_replace(timer);
            self.busy.insert(name, Busy::Stopping { deadline });
            return;
        }
        self.ctx.emit(&self.pod, Some(&name), EventType::Normal, "Killing", message);
        let (_, serial) = self.begin(&name, Busy::Stopping { deadline });
        let Some(task) = self.tasks.get_mut(&name) else { return };
        let (mover, timer) = watch::channel(timer);
        let ended = CancellationToken::new();
        task.stop = Some(Stopping { id: id.clone(), ended: ended.clone(), deadline: mover });
        let mut attempts = self.containers.get(&name).into_iter().flatten();
        let record = attempts.find(|record| record.id == id && !record.gone);
        let signal = record.map(|record| record.stop_signal.clone()).unwrap_or_else(|| "SIGTERM".into());
        let lifecycle = container.lifecycle.as_ref();
        let own_signal =
            lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()).filter(|own| !own.is_empty());
        let stop = Stop {
            ctx: self.ctx.clone(),
            pod: self.pod.clone(),
            container,
            id: id.clone(),
            signal: own_signal.unwrap_or(signal),
            address: self.address.unwrap_or(self.ctx.host()),
            deadline: timer,
            ended,
        };
        self.spawn(&name.clone(), serial, async move {
            stop.run().await;
            Done::Stopped { name, id, serial }
        });
    }

    /// Ends the stop of a container that has ended.
    pub(super) fn stop_is_over(&self, name: &str, id: &str) {
        let stop = self.tasks.get(name).and_then(|task| task.stop.as_ref());
        if let Some(stop) = stop.filter(|stop| stop.id == id) {
            stop.ended.cancel();
        }
    }

    pub(super) fn resize(&mut self, name: String, id: String, limits: Limits) {
        let (start, serial) = self.begin(&name, Busy::Resizing);
        self.spawn(&name.clone(), serial, async move {
            let outcome = start.resize(&name, &id, &limits).await;
            Done::Resized { name, id, outcome }
        });
    }

    pub(super) fn remove(&mut self, name: String, id: String) {
        if !self.removing.insert(id.clone()) {
            return;
        }
        let wait = self.removals.get_mut(&id).map(Backoff::next_wait).unwrap_or_default();
        let ctx = self.ctx.clone();
        self.work.spawn(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let removed = AssertUnwindSafe(ctx.runtime().remove(&id)).catch_unwind().await;
            let failed = !matches!(removed, Ok(Ok(())));
            if failed {
                tracing::warn!(container = id, ?removed, "cannot remove");
            }
            Done::Removed { name, id, failed }
        });
    }

    /// Writes into the API what the worker wants it to hold, until the pod is gone.
    pub(super) fn start_reporter(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let mut wanted = wanted.subscribe();
        // What is wanted already is written, too.
        wanted.mark_changed();
        let report = reporter::report(self.ctx.clone(), self.pod.clone(), wanted);
        self.work.spawn(async move { Done::ReporterEnded { result: caught(report).await } });
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
            pod: self.as_allocated(),
            accepted: self.accepted,
            target: None,
            previous: None,
            cancel: CancellationToken::new(),
        };
        let (address, age) = (self.address, self.ctx.config.timing.refresh);
        let looked = self.refreshed.filter(|refreshed| refreshed.at.elapsed() < LOOK_AT_FILES);
        self.spawn(REFRESH, 0, async move {
            let fingerprint = start.fingerprint_of_files(age).await;
            if let Some(looked) = looked.filter(|looked| Some(looked.fingerprint) == fingerprint) {
                return Done::Refreshed(Some(looked));
            }
            match start.mount_volumes(address, age).await {
                Ok(_) => Done::Refreshed(
                    fingerprint.map(|fingerprint| Refreshed { fingerprint, at: Instant::now() }),
                ),
                Err(failure) => {
                    tracing::debug!(message = failure.message, "cannot refresh volumes");
                    Done::Refreshed(None)
                }
            }
        });
    }
}

/// Does something to its end. After a panic it waits, so that what panics again and again does so slowly.
pub(super) async fn caught(work: impl Future<Output = ()>) -> Result<(), ()> {
    let result = AssertUnwindSafe(work).catch_unwind().await.map_err(drop);
    if result.is_err() {
        tokio::time::sleep(Duration::from_secs(AFTER_PANIC)).await;
    }
    result
}
