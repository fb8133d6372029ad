//! Making a pod's sandbox and its containers.

mod describe;
mod files;
mod image;
mod tokens;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio_util::sync::CancellationToken;

use super::{Failure, hooks};
use crate::context::Context;
use crate::event_type::EventType;
use crate::labels::Identity;
use crate::runtime::{ContainerSpec, Error, Limits, State};
use crate::spec::{self, full_name};
use crate::times::later;
pub use files::message_file;

/// How long a start that failed for want of something waits for the next try. Upstream: its sync period.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// How many addresses a sandbox tries: the engine may know of containers that no agent has made.
const ADDRESSES: usize = 8;

/// A sandbox that was started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The runtime's id.
    pub id: String,
    /// The pod's address.
    pub address: Ipv4Addr,
}

/// What came of making a container.
enum Creation {
    /// It was made.
    New(String),
    /// It is there already, and was started before.
    Existing(String),
}

/// The facts that every start needs.
#[derive(Clone)]
pub struct Start {
    /// What the node's pods share.
    pub ctx: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// When the node accepted it.
    pub accepted: Timestamp,
    /// The container whose processes an ephemeral one is to see, by id.
    pub target: Option<String>,
    /// The attempt before, by id: while it runs no other is started.
    pub previous: Option<String>,
    /// Cancelled when the start is not wanted any more.
    pub cancel: CancellationToken,
}

impl Start {
    fn spec(&self) -> PodSpec {
        self.pod.spec.clone().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    fn identity(&self, container: &str, attempt: u32, backoff: u64) -> Identity {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Identity {
            namespace: text(&self.pod.metadata.namespace),
            pod: text(&self.pod.metadata.name),
            uid: self.uid().into(),
            container: container.into(),
            attempt,
            backoff,
        }
    }

    fn failure(&self, reason: &str, message: impl Into<String>) -> Failure {
        let until = later(self.ctx.clock.now(), RETRY);
        Failure { reason: reason.into(), message: message.into(), until }
    }

    fn labels(&self, identity: &Identity) -> BTreeMap<String, String> {
        identity.labels(&self.ctx.config.cluster, &self.ctx.config.node)
    }

    /// Mounts the volumes, takes an address, starts the sandbox.
    pub async fn sandbox(&self, attempt: u32) -> Result<Started, Failure> {
        if self.spec().host_network == Some(true) {
            let address = self.ctx.host();
            let described = self.describe_sandbox(attempt, address).await?;
            let id = self.run(&described).await.map_err(|error| self.no_sandbox(&error))?;
            return Ok(Started { id, address });
        }
        let mut tries = ADDRESSES;
        let mut network_kept = false;
        loop {
            let address = self.address()?;
            let free = |failure| {
                self.ctx.addresses.free(address, self.uid());
                failure
            };
            let described = self.describe_sandbox(attempt, address).await.map_err(free)?;
            match self.run(&described).await {
                Ok(id) => return Ok(Started { id, address }),
                Err(Error::AddressInUse(why)) if tries > 1 => {
                    tracing::info!(pod = full_name(&self.pod), %address, why, "trying another address");
                    self.ctx.addresses.pass_over(address, self.uid());
                    tries -= 1;
                }
                // It may be the network that is missing. That is made again at once.
                Err(Error::NotFound(why)) if !network_kept => {
                    tracing::info!(pod = full_name(&self.pod), why, "looking for the network");
                    self.ctx.keep_network().await.map_err(|error| free(self.no_sandbox(&error)))?;
                    network_kept = true;
                }
                Err(error) => return Err(free(self.no_sandbox(&error))),
            }
        }
    }

    /// The address that the pod had, or a free one.
    fn address(&self) -> Result<Ipv4Addr, Failure> {
        let addresses = &self.ctx.addresses;
        let known = self.pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        let own = known.filter(|known| addresses.claim(*known, self.uid()));
        let none = || self.no_sandbox(&format!("no address is left in {}", addresses.slice()));
        own.or_else(|| addresses.take(self.uid())).ok_or_else(none)
    }

    fn no_sandbox(&self, why: &dyn std::fmt::Display) -> Failure {
        let message = format!("Failed to create pod sandbox: {why}");
        self.ctx.emit(&self.pod, None, EventType::Warning, "FailedCreatePodSandBox", message.clone());
        self.failure("", message)
    }

    /// Makes a sandbox and starts it; what cannot start does not stay.
    async fn run(&self, described: &ContainerSpec) -> Result<String, Error> {
        let _permit = self.ctx.starts.acquire().await;
        let runtime = self.ctx.runtime();
        let id = match self.create(described).await? {
            Creation::New(id) => id,
            // Nobody knows of it, so nothing has been started in it yet: it is made anew.
            Creation::Existing(id) => {
                runtime.remove(&id).await?;
                runtime.create(described).await?
            }
        };
        let Err(error) = runtime.start(&id).await else { return Ok(id) };
        runtime.remove(&id).await?;
        Err(error)
    }

    /// Makes a container. An agent that was killed, or a task that failed, may have made it already: one that was never
    /// started is made anew.
    async fn create(&self, described: &ContainerSpec) -> Result<Creation, Error> {
        let runtime = self.ctx.runtime();
        let refusal = match runtime.create(described).await {
            Err(Error::Conflict(why)) => Error::Conflict(why),
            other => return other.map(Creation::New),
        };
        match runtime.inspect(&described.name).await? {
            // Somebody renamed another to it. Names are for people: any other does as well.
            Some(left) if Identity::read(&left.labels) != Identity::read(&described.labels) => {
                let name = format!("{}.{:08x}", described.name, self.ctx.config.chance.next() >> 32);
                runtime.create(&ContainerSpec { name, ..described.clone() }).await.map(Creation::New)
            }
            Some(left) if left.state != State::Created => Ok(Creation::Existing(left.id)),
            Some(left) => {
                runtime.remove(&left.id).await?;
                runtime.create(described).await.map(Creation::New)
            }
            None => Err(refusal),
        }
    }

    /// Makes a container, starts it, runs its postStart hook. Answers its id: it may have ended, or never have run.
    pub async fn container(
        &self,
        name: &str,
        attempt: u32,
        backoff: u64,
        sandbox: &Started,
    ) -> Result<String, Failure> {
        let pod_spec = self.spec();
        let Some((container, _)) = spec::find(&pod_spec, name) else {
            return Err(self.failure("", format!("there is no container {name}")));
        };
        let image = image::ensure(&self.ctx, &self.pod, &container, &self.cancel).await?;
        let described = self.describe(&pod_spec, &container, attempt, backoff, sandbox, &image.user).await;
        let described = described.map_err(|message| {
            self.emit(&container, EventType::Warning, "Failed", format!("Error: {message}"));
            self.failure("CreateContainerConfigError", message)
        })?;
        let id = self.create_and_start(&container, &described).await?;
        // What was held open for its mounts is let go: the hook may take long.
        drop(described);
        self.post_start(&pod_spec, &container, &id, sandbox).await;
        Ok(id)
    }

    /// Changes what a container may use while it runs.
    pub async fn resize(&self, name: &str, id: &str, limits: &Limits) -> Result<(), Failure> {
        // If it fails, the container goes on as it was.
        let failed = |why: String| self.failure("", format!("failed to resize container {name:?}: {why}"));
        let shown = self.ctx.runtime().update(id, limits).await;
        let shown = shown.map_err(|error| failed(error.to_string()))?;
        match limits.hold_in(&shown) {
            true => Ok(()),
            false => Err(failed(format!("the engine was asked for {limits}, and shows {shown}"))),
        }
    }

    fn emit(&self, container: &Container, event_type: EventType, reason: &str, message: String) {
        self.ctx.emit(&self.pod, Some(&container.name), event_type, reason, message);
    }

    async fn create_and_start(
        &self,
        container: &Container,
        described: &ContainerSpec,
    ) -> Result<String, Failure> {
        let _permit = self.ctx.starts.acquire().await;
        let failed =
            |error: &Error| self.emit(container, EventType::Warning, "Failed", format!("Error: {error}"));
        let made = self.create(described).await.map_err(|error| {
            failed(&error);
            self.failure("CreateContainerError", error.to_string())
        })?;
        let id = match made {
            Creation::New(id) => id,
            Creation::Existing(id) => return Ok(id),
        };
        self.emit(container, EventType::Normal, "Created", "Container created".into());
        let runtime = self.ctx.runtime();
        if self.previous_runs().await {
            let _ = runtime.remove(&id).await;
            return Err(self.failure("", "the attempt before runs again"));
        }
        if let Err(error) = runtime.start(&id).await {
            failed(&error);
            return match runtime.inspect(&id).await {
                // It was started all the same, or it shows why it could not run; that is its end.
                Ok(Some(found)) if found.state != State::Created => Ok(id),
                found => {
                    if let Ok(Some(_)) = found {
                        let _ = runtime.remove(&id).await;
                    }
                    Err(self.failure("RunContainerError", error.to_string()))
                }
            };
        }
        self.emit(container, EventType::Normal, "Started", "Container started".into());
        Ok(id)
    }

    /// Whether somebody started the attempt before again.
    async fn previous_runs(&self) -> bool {
        let Some(previous) = &self.previous else { return false };
        matches!(self.ctx.runtime().inspect(previous).await, Ok(Some(found)) if found.state.is_running())
    }

    /// Runs the postStart hook, if there is one; a container whose hook fails is ended.
    async fn post_start(&self, spec: &PodSpec, container: &Container, id: &str, sandbox: &Started) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return };
        let outcome = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ok(()),
            outcome = hooks::run(&self.ctx, container, id, hook, sandbox.address) => outcome,
        };
        let Err(error) = outcome else { return };
        let pod = full_name(&self.pod);
        tracing::info!(pod, container = container.name, error, "postStart hook failed");
        self.emit(container, EventType::Warning, "FailedPostStartHook", "PostStartHook failed".into());
        self.emit(container, EventType::Normal, "Killing", "FailedPostStartHook".into());
        let grace = u64::try_from(spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
        super::stop::signal_and_wait(&self.ctx, id, grace).await;
    }
}
