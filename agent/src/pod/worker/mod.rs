//! The worker of one pod: does what [`step`] decides, and lets it decide again when something has come of it.
//!
//! Everything slow runs in tasks of its own; the worker only ever waits for the next thing to happen.

mod inbox;
mod measure;
mod notes;
mod outcomes;
mod probes;
mod state;
mod tasks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::mpsc;

use super::admission::Refusal;
use super::memory::End;
use super::reporter::Wanted;
use super::step::{Action, step};
use crate::context::Context;
use crate::gc;
use crate::labels::{Owner, SANDBOX};
use crate::probe::task::ProbeResult;
use crate::runtime::{Container, EventKind};
use crate::spec::{ephemeral, full_name};
use inbox::Messages;
pub use inbox::{Inbox, Sender, inbox};
use state::Worker;

/// How many results of probes wait for a worker. Beyond that its own probes wait; nobody else is held up.
const RESULTS: usize = 64;

/// A pod that is given to a worker.
pub struct Given {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Why its node refuses it, if it does.
    pub refusal: Option<Refusal>,
}

/// The work on a pod with the containers that it has already. Its end is the pod's end on this node.
pub async fn run(ctx: Arc<Context>, given: Given, found: Vec<Container>, mut inbox: Inbox) {
    let (results, mut result_inbox) = mpsc::channel(RESULTS);
    let mut worker = Worker::new(ctx, given.pod, given.refusal, results);
    for container in found {
        worker.take(container).await;
    }
    worker.recall();
    worker.start_reporter();
    worker.keep(&mut inbox, &mut result_inbox).await;
}

/// The same in place of a worker that panicked: after a wait, with the containers that are there by then.
pub async fn replace(ctx: Arc<Context>, given: Given, wait: Duration, inbox: Inbox) {
    tokio::time::sleep(wait).await;
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let uid = given.pod.metadata.uid.clone().unwrap_or_default();
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(10));
    let found = loop {
        match ctx.runtime().of_pod(&owner, &uid).await {
            Ok(found) => break found,
            Err(error) => {
                tracing::warn!(pod = full_name(&given.pod), %error, "cannot see the pod's containers")
            }
        }
        tokio::time::sleep(backoff.next_wait()).await;
    };
    run(ctx, given, found, inbox).await;
}

impl Worker {
    async fn keep(&mut self, inbox: &mut Inbox, results: &mut mpsc::Receiver<ProbeResult>) {
        let mut refresh = tokio::time::interval(self.ctx.config.timing.refresh);
        refresh.reset();
        loop {
            let wake = self.step();
            if self.is_over() {
                return self.clean_up().await;
            }
            let wait = wake.map(|wake| wake.duration_since(self.ctx.clock.now()));
            let wait =
                wait.map_or(Duration::MAX / 4, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO));
            tokio::select! {
                biased;
                messages = inbox.next() => match messages {
                    Some(messages) => self.handle(messages).await,
                    // The agent stops; the containers go on.
                    None => return,
                },
                Some(done) = self.work.join_next() => self.finish(done).await,
                Some(result) = results.recv() => self.note_probe_result(&result),
                () = tokio::time::sleep(wait) => {}
                _ = refresh.tick() => {
                    self.refresh();
                    self.measure();
                }
            }
            while let Some(done) = self.work.try_join_next() {
                self.finish(done).await;
            }
        }
    }

    /// Decides what to do, reports the status, and begins the actions.
    fn step(&mut self) -> Option<Timestamp> {
        self.keep_probes();
        let decided = step(&self.observed());
        let finish = decided.actions.contains(&Action::Finish);
        if let Some(wanted) = &self.wanted {
            wanted.send_if_modified(|wanted| {
                let now = Wanted { status: Some(decided.status.clone()), finish: finish || wanted.finish };
                std::mem::replace(wanted, now.clone()) != now
            });
        }
        self.ending = decided.ending;
        for action in decided.actions {
            self.act(action);
        }
        decided.wake
    }

    fn act(&mut self, action: Action) {
        tracing::debug!(pod = full_name(&self.pod), ?action, "acting");
        match action {
            Action::StartSandbox { attempt } => self.start_sandbox(attempt),
            Action::RemoveSandbox { id } => self.remove(SANDBOX.into(), id),
            Action::Remove { name, id } => self.remove(name, id),
            Action::Resize { name, id, limits } => self.resize(name, id, limits),
            Action::Start { name, attempt, backoff } => self.start_container(name, attempt, backoff),
            Action::Cancel { name } => {
                if let Some(task) = self.tasks.get(&name) {
                    task.cancel.cancel();
                }
            }
            Action::Stop { name, id, message, grace, replaced } => {
                let all = self.containers.get_mut(&name).into_iter().flatten();
                all.filter(|record| record.id == id).for_each(|record| record.replaced |= replaced);
                self.stop(name, id, message, grace);
            }
            Action::Emit { container, once, event_type, reason, message } => {
                if self.emitted.insert(once) {
                    self.ctx.emit(&self.pod, container.as_deref(), event_type, reason, message);
                }
            }
            Action::Finish => {}
        }
    }

    async fn handle(&mut self, messages: Messages) {
        if let Some(pod) = messages.pod {
            let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
            let relabelled = meta(&pod) != meta(&self.pod);
            self.ephemeral = pod.spec.as_ref().map(ephemeral).unwrap_or_default();
            if pod.metadata.generation != self.pod.metadata.generation {
                // It may ask for something else now. What could not be started is shown until that has been tried again.
                self.refused.clear();
                let now = self.ctx.clock.now();
                self.failures.values_mut().for_each(|failure| failure.until = failure.until.min(now));
            }
            self.pod = pod;
            if relabelled {
                self.refresh();
            }
        }
        if messages.gone {
            self.pod_is_gone();
        }
        for event in messages.events {
            // A container that is being started is looked at once that is over.
            if !self.knows(&event.id) && self.is_starting() {
                continue;
            }
            match event.kind {
                EventKind::Signalled => {
                    self.note_signal(&event.id);
                    continue;
                }
                EventKind::Ended { code, at } => drop(self.ends.insert(event.id.clone(), End { code, at })),
                EventKind::Started | EventKind::Disconnected | EventKind::Removed => {}
            }
            self.look(&event.id, event.kind == EventKind::Removed).await;
        }
        if let Some(found) = messages.look {
            let mut ids: BTreeSet<String> = self
                .containers
                .values()
                .flatten()
                .filter(|r| !r.gone)
                .map(|record| record.id.clone())
                .collect();
            ids.extend(self.sandbox.as_ref().map(|sandbox| sandbox.id.clone()));
            if !self.is_starting() {
                ids.extend(found);
            }
            for id in ids {
                self.look(&id, false).await;
            }
        }
    }

    fn pod_is_gone(&mut self) {
        self.gone = true;
        // There is no status to write any more.
        self.wanted = None;
        if self.pod.metadata.deletion_timestamp.is_none() {
            let mut pod = Pod::clone(&self.pod);
            pod.metadata.deletion_timestamp = Some(Time(self.ctx.clock.now()));
            pod.metadata.deletion_grace_period_seconds = Some(0);
            self.pod = Arc::new(pod);
        }
    }

    /// Whether the pod is gone from the API and nothing of it runs.
    fn is_over(&self) -> bool {
        self.gone
            && self.busy.is_empty()
            && self.removing.is_empty()
            && self.sandbox.is_none()
            && !self.observed().any_running()
    }

    async fn clean_up(&mut self) {
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        for record in self.containers.values().flatten().filter(|record| !record.gone) {
            if let Err(error) = self.ctx.runtime().remove(&record.id).await {
                tracing::warn!(container = record.id, %error, "cannot remove");
            }
        }
        self.release_address();
        self.ctx.images.forget(&uid);
        self.ctx.tokens.forget(&uid);
        gc::remove_files(&self.ctx, &uid).await;
    }
}
