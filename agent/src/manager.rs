//! All pods of the node: follows the API's pods and the runtime's events, and gives each to its worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Object, Revision, kinds};
use coracle_client::backoff::Backoff;
use coracle_client::{Error, Event, Interest, Typed as _};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::labels::{self, Identity, Owner};
use crate::pod::phase;
use crate::pod::worker::{self, Message};
use crate::runtime::{self, Container, ContainerEvent};

/// How many messages wait for one worker. A worker that is so far behind looks at everything once it comes to it.
const INBOX: usize = 256;

/// The workers of a node.
struct Manager {
    ctx: Arc<Context>,
    workers: HashMap<String, mpsc::Sender<Message>>,
    tasks: JoinSet<String>,
    /// Containers that were found before their pod was heard of.
    found: HashMap<String, Vec<Container>>,
}

/// Runs the node's pods until it stops. What runs then goes on running.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let mut manager = Manager { ctx, workers: HashMap::new(), tasks: JoinSet::new(), found: HashMap::new() };
    stop.run_until_cancelled(manager.keep()).await;
}

impl Manager {
    async fn keep(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let (events, mut heard) = mpsc::channel(1024);
        let listener = tokio::spawn(listen(self.ctx.clone(), events));
        let _listener = tokio_util::task::AbortOnDropHandle::new(listener);
        let mut since = None;
        loop {
            let broken = self.follow(&mut since, &mut heard, &mut backoff).await;
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
        heard: &mut mpsc::Receiver<Option<ContainerEvent>>,
        backoff: &mut Backoff,
    ) -> Result<(), Error> {
        let node = &self.ctx.config.node;
        let interest = Interest { fields: format!("spec.nodeName={node}"), ..Interest::all(&kinds::POD) };
        let from = match *since {
            Some(revision) => revision,
            None => {
                let (pods, revision) = self.ctx.client.list(&interest).await?;
                self.adopt(&pods).await?;
                revision
            }
        };
        *since = Some(from);
        let mut events = self.ctx.client.watch(vec![interest], from).await?;
        let mut resync = tokio::time::interval(self.ctx.config.timing.resync);
        resync.reset();
        loop {
            tokio::select! {
                event = events.next() => {
                    let event = event.unwrap_or_else(|| Err(Error::Unreachable("the watch ended".into())))?;
                    backoff.reset();
                    *since = Some(event.revision());
                    match event {
                        Event::Added(object) | Event::Modified(object) => {
                            self.decoded(&object).into_iter().for_each(|pod| self.take(pod));
                        }
                        Event::Deleted(object) => self.gone(&object),
                        Event::Bookmark(_) => {}
                    }
                }
                Some(event) = heard.recv() => match event {
                    Some(event) => self.send(&event.uid.clone(), Message::Event(event)),
                    None => self.look_everywhere().await,
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(uid) = ended {
                        self.workers.remove(&uid);
                    }
                }
                _ = resync.tick() => self.look_everywhere().await,
            }
        }
    }

    /// Takes over what is there: pods of the API, containers of the runtime. What belongs to no pod is removed. Without a
    /// look at the containers nothing begins: pods that run would be started twice.
    async fn adopt(&mut self, pods: &[Arc<Object>]) -> Result<(), Error> {
        let unseen = |error: runtime::Error| {
            tracing::warn!(%error, "cannot see the containers; trying again");
            Error::Unreachable(error.to_string())
        };
        self.found = self.owned().await.map_err(unseen)?;
        let pods: Vec<Pod> = pods.iter().filter_map(|object| self.decoded(object)).collect();
        // Before any worker asks for an address, all that are in use must be known.
        self.claim_addresses(&pods);
        let uids: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        for pod in pods {
            self.take(pod);
        }
        let missing: Vec<String> = self.workers.keys().filter(|uid| !uids.contains(uid)).cloned().collect();
        for uid in missing {
            self.send(&uid, Message::Gone);
        }
        let orphans: Vec<Container> = std::mem::take(&mut self.found).into_values().flatten().collect();
        crate::gc::remove(&self.ctx, orphans).await;
        crate::gc::sweep_files(&self.ctx, &uids).await;
        Ok(())
    }

    /// Notes the addresses of sandboxes that are there, then those of pods whose sandbox will come again.
    fn claim_addresses(&self, pods: &[Pod]) {
        let of_sandbox = |container: &Container| {
            container
                .labels
                .get(labels::ADDRESS)?
                .parse()
                .ok()
                .zip(container.labels.get(labels::UID).cloned())
        };
        let of_pod = |pod: &Pod| {
            let status = pod
                .status
                .as_ref()
                .filter(|status| !status.phase.as_deref().is_some_and(phase::is_terminal))?;
            status.pod_ip.as_deref()?.parse().ok().zip(pod.metadata.uid.clone())
        };
        let sandboxes = self.found.values().flatten().filter_map(of_sandbox);
        for (address, uid) in sandboxes.chain(pods.iter().filter_map(of_pod)) {
            self.ctx.addresses.claim(address, &uid);
        }
    }

    /// The node's containers by the uid of their pod.
    async fn owned(&self) -> Result<HashMap<String, Vec<Container>>, runtime::Error> {
        let owner = Owner::node(&self.ctx.config.cluster, &self.ctx.config.node);
        let containers = self.ctx.runtime().containers(&owner).await?;
        let mut found: HashMap<String, Vec<Container>> = HashMap::new();
        for container in containers {
            if let Some(identity) = Identity::read(&container.labels) {
                found.entry(identity.uid).or_default().push(container);
            }
        }
        Ok(found)
    }

    async fn look_everywhere(&mut self) {
        let mut found = match self.owned().await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "cannot see the containers"),
        };
        for uid in self.workers.keys() {
            let ids = found.remove(uid).into_iter().flatten().map(|container| container.id).collect();
            self.send(uid, Message::Look(ids));
        }
        crate::gc::remove(&self.ctx, found.into_values().flatten().collect()).await;
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

    fn take(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if self.workers.contains_key(&uid) {
            return self.send(&uid, Message::Pod(Arc::new(pod)));
        }
        let (sender, inbox) = mpsc::channel(INBOX);
        let found = self.found.remove(&uid).unwrap_or_default();
        let work = worker::start(self.ctx.clone(), Arc::new(pod), found, inbox);
        self.workers.insert(uid.clone(), sender);
        self.tasks.spawn(async move {
            work.await;
            uid
        });
    }

    fn gone(&mut self, object: &Object) {
        let Some(pod) = self.decoded(object) else { return };
        let Some(uid) = pod.metadata.uid.clone() else { return };
        self.send(&uid, Message::Pod(Arc::new(pod)));
        self.send(&uid, Message::Gone);
    }

    /// A full inbox must not hold up the other pods: the message is lost, and the next resync makes up for it. The
    /// pod's own changes are never lost: a task waits with them.
    fn send(&self, uid: &str, message: Message) {
        let Some(worker) = self.workers.get(uid) else { return };
        if let Err(mpsc::error::TrySendError::Full(message)) = worker.try_send(message) {
            let worker = worker.clone();
            tokio::spawn(async move {
                let _ = worker.send(message).await;
            });
        }
    }
}

/// Passes the runtime's events on; `None` stands for a gap, after which everything has to be looked at.
async fn listen(ctx: Arc<Context>, events: mpsc::Sender<Option<ContainerEvent>>) {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
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
