//! The worker of one pod: runs what [`step`] decides, and tells it what came of it.
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

use super::memory::End;
use super::reporter::Wanted;
use super::step::{Action, step};
use crate::context::Context;
use crate::gc;
use crate::labels::{Owner, SANDBOX};
use crate::probe::task::Opinion;
use crate::runtime::{Container, Happened};
use crate::spec::{ephemeral, full_name};
use inbox::Heard;
pub use inbox::{Inbox, Sender, inbox};
use state::Worker;

/// How many opinions of probes wait for a worker. Its probes wait for room; nobody else is held up.
const OPINIONS: usize = 64;

/// The work on a pod with the containers that it has already. Its end is the pod's end on this node.
pub async fn run(ctx: Arc<Context>, pod: Arc<Pod>, found: Vec<Container>, mut inbox: Inbox) {
    let (opinions, mut opinion_inbox) = mpsc::channel(OPINIONS);
    let mut worker = Worker::new(ctx, pod, opinions);
    for container in found {
        worker.take(container).await;
    }
    worker.recall();
    worker.start_reporter();
    worker.keep(&mut inbox, &mut opinion_inbox).await;
}

/// The same in place of a worker that panicked: after a wait, with the containers that are there by then.
pub async fn replace(ctx: Arc<Context>, pod: Arc<Pod>, wait: Duration, inbox: Inbox) {
    tokio::time::sleep(wait).await;
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(10));
    let found = loop {
        match ctx.runtime().of_pod(&owner, &uid).await {
            Ok(found) => break found,
            Err(error) => tracing::warn!(pod = full_name(&pod), %error, "cannot see the pod's containers"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    };
    run(ctx, pod, found, inbox).await;
}

impl Worker {
    async fn keep(&mut self, inbox: &mut Inbox, opinions: &mut mpsc::Receiver<Opinion>) {
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
                heard = inbox.next() => match heard {
                    Some(heard) => self.hear(heard).await,
                    // The node stops; the containers do not.
                    None => return,
                },
                Some(done) = self.work.join_next() => self.finish(done).await,
                Some(opinion) = opinions.recv() => self.weigh(&opinion),
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

    /// Decides, says, and sets to work.
    fn step(&mut self) -> Option<Timestamp> {
        self.keep_probes();
        self.ctx.claims.note(&self.pod);
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
            Action::Stop { name, id, message, grace } => self.stop(name, id, message, grace),
            Action::Tell { container, once, tone, reason, message } => {
                if self.told.insert(once) {
                    self.ctx.tell(&self.pod, container.as_deref(), tone, reason, message);
                }
            }
            Action::Finish => {}
        }
    }

    async fn hear(&mut self, heard: Heard) {
        if let Some(pod) = heard.pod {
            let meta = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
            let relabelled = meta(&pod) != meta(&self.pod);
            self.ephemeral = pod.spec.as_ref().map(ephemeral).unwrap_or_default();
            if pod.metadata.generation != self.pod.metadata.generation {
                // It may ask for something else now.
                self.refused.clear();
            }
            self.pod = pod;
            if relabelled {
                self.refresh();
            }
        }
        if heard.gone {
            self.pod_is_gone();
        }
        for event in heard.events {
            // What is being started is looked at once that is over.
            if !self.knows(&event.id) && self.is_starting() {
                continue;
            }
            match event.what {
                Happened::Signalled => {
                    self.note_signal(&event.id);
                    continue;
                }
                Happened::Ended { code, at } => drop(self.ends.insert(event.id.clone(), End { code, at })),
                Happened::Started | Happened::Removed => {}
            }
            self.look(&event.id, event.what == Happened::Removed).await;
        }
        if let Some(found) = heard.look {
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
        // Nobody is left to tell.
        self.wanted = None;
        if self.pod.metadata.deletion_timestamp.is_none() {
            let mut pod = Pod::clone(&self.pod);
            pod.metadata.deletion_timestamp = Some(Time(self.ctx.clock.now()));
            pod.metadata.deletion_grace_period_seconds = Some(0);
            self.pod = Arc::new(pod);
        }
    }

    /// Whether the API has forgotten the pod and nothing of it runs.
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
        self.ctx.claims.forget(&uid);
        self.ctx.images.forget(&uid);
        self.ctx.tokens.forget(&uid);
        gc::remove_files(&self.ctx, &uid).await;
    }
}
