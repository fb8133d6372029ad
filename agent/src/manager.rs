//! All pods of the node: follows the API's pods and the runtime's events, and gives each to its worker.
//!
//! Pods come from one watch, which starts at a list and is resumed where it broke off. Containers come from the
//! runtime's events; a survey of all containers, now and then and after each gap, catches what an event missed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Object, Revision};
use coracle_client::backoff::Backoff;
use coracle_client::{Error, Event, Typed as _};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;
use crate::gc::{self, ByPod};
use crate::labels::{self, Owner};
use crate::pod::admission::{self, NodeFacts, Refusal};
use crate::pod::worker::{self, Given, Sender};
use crate::runtime::{Container, ContainerEvent};
use crate::spec::{is_terminal, node_selector};

/// How long the engine may take to show all containers.
const SURVEY: Duration = Duration::from_secs(120);
/// Waits before a worker that panicked is replaced: the first, and the longest.
const REPLACE_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The workers of a node. Dropped, it takes every task of the node with it: nothing is started after that.
struct Manager {
    ctx: Arc<Context>,
    pods: BTreeMap<String, Managed>,
    workers: JoinSet<()>,
    /// The uid of the pod whose worker a task is.
    worker_of: HashMap<task::Id, String>,
    /// Removals of containers whose pods are gone.
    removals: JoinSet<()>,
    survey: Survey,
}

/// A pod and the way to its worker.
struct Managed {
    pod: Arc<Pod>,
    refusal: Option<Refusal>,
    revision: Revision,
    gone: bool,
    inbox: Sender,
    /// How long to wait when its worker panics.
    replace: Backoff,
}

/// A look at all containers, which may take a while: at most one at a time.
#[derive(Default)]
struct Survey {
    running: Option<AbortOnDropHandle<Option<Seen>>>,
    /// Another is wanted: something may have happened since this one began.
    again: bool,
}

/// What a survey saw.
struct Seen {
    /// Ids by the uid of their pod: each pod's worker looks closer.
    found: BTreeMap<String, Vec<String>>,
    gone: BTreeSet<String>,
}

/// Runs the node's pods until it stops. What runs then goes on running.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let mut manager = Manager {
        ctx,
        pods: BTreeMap::new(),
        workers: JoinSet::new(),
        worker_of: HashMap::new(),
        removals: JoinSet::new(),
        survey: Survey::default(),
    };
    stop.run_until_cancelled(manager.keep()).await;
}

impl Manager {
    async fn keep(&mut self) {
        let mut backoff = self.ctx.backoff(Duration::from_millis(50), Duration::from_secs(5));
        let (events, mut engine_events) = mpsc::channel(1024);
        let listener = tokio::spawn(listen(self.ctx.clone(), events));
        let _listener = AbortOnDropHandle::new(listener);
        let mut since = None;
        loop {
            let broken = self.follow(&mut since, &mut engine_events, &mut backoff).await;
            match broken {
                Err(Error::Expired { .. }) => since = None,
                Err(error) => tracing::debug!(%error, "the watch of pods broke off; resuming"),
                Ok(()) => {}
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Lists (unless it goes on from a revision) and follows.
    async fn follow(
        &mut self,
        since: &mut Option<Revision>,
        engine_events: &mut mpsc::Receiver<Option<ContainerEvent>>,
        backoff: &mut Backoff,
    ) -> Result<(), Error> {
        let interest = gc::interest(&self.ctx);
        let from = match *since {
            Some(revision) => revision,
            None => self.adopt().await?,
        };
        *since = Some(from);
        let mut events = self.ctx.client.watch(vec![interest], from).await?;
        let mut resync = tokio::time::interval(self.ctx.config.timing.resync);
        resync.reset();
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    let event = event.unwrap_or_else(|| Err(Error::Unreachable("the watch ended".into())))?;
                    backoff.reset();
                    *since = Some(event.revision());
                    match event {
                        Event::Added(object) | Event::Modified(object) => {
                            if let Some(pod) = self.decoded(&object) {
                                self.take(pod, object.revision, Vec::new()).await;
                            }
                        }
                        Event::Deleted(object) => self.gone(&object),
                        Event::Bookmark(_) => {}
                    }
                }
                Some(event) = engine_events.recv() => match event {
                    Some(event) => {
                        if let Some(pod) = self.pods.get(&event.uid) {
                            pod.inbox.event(event);
                        }
                    }
                    None => self.look_everywhere(),
                },
                Some(ended) = self.workers.join_next_with_id() => self.worker_ended(ended),
                Some(_) = self.removals.join_next() => {}
                seen = self.survey.seen() => self.take_survey(seen),
                _ = resync.tick() => self.look_everywhere(),
            }
        }
    }

    /// Takes over what is there: pods of the API, containers of the runtime. Answers the revision to follow from. Called
    /// at the start, and whenever the watch cannot be resumed; what runs is kept by the same rules both times.
    async fn adopt(&mut self) -> Result<Revision, Error> {
        let unseen = |why: &dyn std::fmt::Display| {
            tracing::warn!(error = %why, "cannot see the containers; trying again");
            Error::Unreachable(why.to_string())
        };
        // The containers first: one whose pod a later list does not know has no pod any more.
        let found = tokio::time::timeout(SURVEY, gc::owned(&self.ctx)).await.map_err(|late| unseen(&late))?;
        let mut found = found.map_err(|error| unseen(&error))?;
        let (objects, revision) = self.ctx.client.list(&gc::interest(&self.ctx)).await?;
        let mut known = gc::uids(&objects);
        let mut pods: Vec<(Pod, Revision)> =
            objects.iter().filter_map(|object| Some((self.decoded(object)?, object.revision))).collect();
        // Before any worker asks for an address, all that are in use must be known.
        self.claim_addresses(&found, pods.iter().map(|(pod, _)| pod));
        for (uid, managed) in &mut self.pods {
            // A list that is older than what is known of a pod says nothing about it.
            if !known.contains(uid) && managed.revision <= revision {
                managed.gone = true;
                self.ctx.requests.forget(uid);
                managed.inbox.gone();
            }
        }
        // Those that are here already have their room; of the others the oldest comes first.
        pods.sort_by_key(|(pod, _)| {
            let has = pod.metadata.uid.as_ref().is_some_and(|uid| found.contains_key(uid));
            (admission::is_new(pod) && !has, pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
        });
        for (pod, at) in pods {
            let own = pod.metadata.uid.as_ref().and_then(|uid| found.remove(uid)).unwrap_or_default();
            self.take(pod, at, own).await;
        }
        known.extend(self.pods.keys().cloned());
        found.retain(|uid, _| !known.contains(uid));
        self.remove(found.into_values().flatten().map(|container| container.id).collect());
        gc::sweep_files(&self.ctx, &known).await;
        Ok(revision)
    }

    fn remove(&mut self, orphans: Vec<String>) {
        if !orphans.is_empty() {
            let ctx = self.ctx.clone();
            self.removals.spawn(async move { gc::remove(&ctx, orphans).await });
        }
    }

    /// Notes the addresses of sandboxes that are there, then those of pods whose sandbox will come again.
    fn claim_addresses<'a>(&self, found: &ByPod, pods: impl Iterator<Item = &'a Pod>) {
        let of_sandbox = |container: &Container| {
            container
                .labels
                .get(labels::ADDRESS)?
                .parse()
                .ok()
                .zip(container.labels.get(labels::UID).cloned())
        };
        let of_pod = |pod: &Pod| {
            let status =
                pod.status.as_ref().filter(|status| !status.phase.as_deref().is_some_and(is_terminal))?;
            status.pod_ip.as_deref()?.parse().ok().zip(pod.metadata.uid.clone())
        };
        let sandboxes = found.values().flatten().filter_map(of_sandbox);
        for (address, uid) in sandboxes.chain(pods.filter_map(of_pod)) {
            self.ctx.addresses.claim(address, &uid);
        }
    }

    /// Has all containers looked at.
    fn look_everywhere(&mut self) {
        if self.survey.running.is_some() {
            self.survey.again = true;
            return;
        }
        let ctx = self.ctx.clone();
        let workers: BTreeSet<String> = self.pods.keys().cloned().collect();
        let survey = async move {
            let found = gc::ids(&ctx)
                .await
                .inspect_err(|error| tracing::warn!(%error, "cannot see the containers"))
                .ok()?;
            let without = found.keys().filter(|uid| !workers.contains(*uid));
            // While the API cannot be asked nothing is gone.
            let gone = gc::gone(&ctx, without).await.unwrap_or_default();
            Some(Seen { found, gone })
        };
        let survey = async move { tokio::time::timeout(SURVEY, survey).await.ok().flatten() };
        self.survey.running = Some(AbortOnDropHandle::new(tokio::spawn(survey)));
    }

    fn take_survey(&mut self, seen: Option<Seen>) {
        if let Some(Seen { mut found, gone }) = seen {
            for (uid, managed) in &self.pods {
                managed.inbox.look(found.remove(uid).into_iter().flatten());
            }
            found.retain(|uid, _| gone.contains(uid));
            self.remove(found.into_values().flatten().collect());
        }
        if std::mem::take(&mut self.survey.again) {
            self.look_everywhere();
        }
    }

    fn decoded(&self, object: &Object) -> Option<Pod> {
        match Pod::from_json(&object.json) {
            Ok(pod) => Some(pod),
            Err(error) => {
                tracing::error!(pod = %object.key, %error, "cannot read a pod");
                None
            }
        }
    }

    /// Why the node refuses a pod that is new to it, if it does.
    async fn refusal(&self, pod: &Pod) -> Option<Refusal> {
        let selects = pod.spec.as_ref().is_some_and(node_selector::selects);
        let labels = if selects { self.labels().await } else { None };
        let (node, offer) = (self.ctx.config.node.as_str(), self.ctx.requests.offer());
        let refusal = admission::refusal(pod, &NodeFacts { node, labels: labels.as_ref(), offer: &offer })?;
        tracing::info!(pod = %Context::key(pod), reason = refusal.reason, message = refusal.message, "refused");
        Some(refusal)
    }

    /// The labels of the Node, as they are now: the pod may have been bound because of one that it got a moment ago.
    async fn labels(&self) -> Option<BTreeMap<String, String>> {
        match self.ctx.client.get_as::<Node>("", &self.ctx.config.node).await {
            Ok(node) => Some(node?.metadata.labels.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(%error, "cannot read the Node; its labels are not compared");
                None
            }
        }
    }

    /// A pod as the API has it at a revision, and containers of it that were found.
    async fn take(&mut self, pod: Pod, revision: Revision, found: Vec<Container>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let known = self.pods.get(&uid);
        let refusal = match known {
            Some(known) => known.refusal.clone(),
            None if found.is_empty() && admission::is_new(&pod) => self.refusal(&pod).await,
            None => None,
        };
        if refusal.is_none() {
            self.ctx.requests.note(&pod);
        }
        let pod = Arc::new(pod);
        if let Some(managed) = self.pods.get_mut(&uid) {
            managed.pod = pod.clone();
            managed.revision = revision;
            managed.inbox.pod(pod);
            if !found.is_empty() {
                managed.inbox.look(found.into_iter().map(|container| container.id));
            }
            return;
        }
        let (sender, inbox) = worker::inbox();
        let replace = self.ctx.backoff(REPLACE_AFTER.0, REPLACE_AFTER.1);
        let given = Given { pod: pod.clone(), refusal: refusal.clone() };
        let work = worker::run(self.ctx.clone(), given, found, inbox);
        self.pods
            .insert(uid.clone(), Managed { pod, refusal, revision, gone: false, inbox: sender, replace });
        let task = self.workers.spawn(work);
        self.worker_of.insert(task.id(), uid);
    }

    fn gone(&mut self, object: &Object) {
        let Some(pod) = self.decoded(object) else { return };
        let Some(managed) = pod.metadata.uid.as_ref().and_then(|uid| self.pods.get_mut(uid)) else { return };
        managed.pod = Arc::new(pod);
        managed.revision = object.revision;
        managed.gone = true;
        self.ctx.requests.forget(managed.pod.metadata.uid.as_deref().unwrap_or_default());
        managed.inbox.pod(managed.pod.clone());
        managed.inbox.gone();
    }

    /// A worker's end is its pod's end on this node, unless it panicked: then another one takes over its containers.
    fn worker_ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let Some(uid) = self.worker_of.remove(&id) else { return };
        let Some(managed) = self.pods.get_mut(&uid) else { return };
        if ended.is_ok() {
            self.pods.remove(&uid);
            return;
        }
        let wait = managed.replace.next_wait();
        tracing::error!(pod = %Context::key(&managed.pod), ?wait, "a pod's worker panicked; another takes over");
        let (sender, inbox) = worker::inbox();
        if managed.gone {
            sender.gone();
        }
        managed.inbox = sender;
        let given = Given { pod: managed.pod.clone(), refusal: managed.refusal.clone() };
        let work = worker::replace(self.ctx.clone(), given, wait, inbox);
        let task = self.workers.spawn(work);
        self.worker_of.insert(task.id(), uid);
    }
}

impl Survey {
    /// Waits for the survey that is under way; for ever, if there is none.
    async fn seen(&mut self) -> Option<Seen> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let seen = running.await;
        self.running = None;
        seen.unwrap_or_default()
    }
}

/// Passes the runtime's events on; `None` stands for a gap, after which everything has to be looked at.
async fn listen(ctx: Arc<Context>, events: mpsc::Sender<Option<ContainerEvent>>) {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let mut backoff = ctx.backoff(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match ctx.runtime().events(&owner).await {
            Ok(mut stream) => {
                if events.send(None).await.is_err() {
                    return;
                }
                while let Some(event) = stream.next().await {
                    backoff.reset();
                    if events.send(Some(event)).await.is_err() {
                        return;
                    }
                }
                tracing::warn!("the container engine's events broke off");
            }
            Err(error) => tracing::warn!(%error, "cannot hear the container engine"),
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}
