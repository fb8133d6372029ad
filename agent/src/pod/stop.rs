//! Ending a container: its preStop hook, its stop signal, and at the deadline the kill.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hooks;
use crate::context::{Context, Tone};

/// What a container gets after its hook, even if that used up all of the grace.
const SHORTEST: Duration = Duration::from_secs(2);
/// How long the engine may take to report the end of what was killed.
const AFTER_KILL: Duration = Duration::from_secs(15);

/// A container that is to end.
pub struct Stop {
    /// What the node's pods share.
    pub ctx: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's part of the spec.
    pub container: Container,
    /// Its id.
    pub id: String,
    /// The signal that asks it to end.
    pub signal: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// How long it may take.
    pub grace: Duration,
    /// Set when it has ended.
    pub ended: CancellationToken,
    /// Set when another, shorter stop takes over.
    pub cancel: CancellationToken,
}

impl Stop {
    /// Ends the container.
    pub async fn run(self) {
        let end = async {
            let begun = Instant::now();
            self.hook().await;
            let left = self.grace.saturating_sub(begun.elapsed()).max(SHORTEST);
            self.signal(&self.signal).await;
            tokio::time::sleep(left).await;
            self.signal("SIGKILL").await;
            tokio::time::sleep(AFTER_KILL).await;
            tracing::warn!(container = self.id, "a killed container did not end");
        };
        tokio::select! {
            () = end => {}
            () = self.ended.cancelled() => {}
            () = self.cancel.cancelled() => {}
        }
    }

    async fn hook(&self) {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook.filter(|_| !self.grace.is_zero()) else { return };
        let run = hooks::run(&self.ctx, &self.container, &self.id, hook, self.address);
        let error = match tokio::time::timeout(self.grace, run).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => "it took longer than the grace period".into(),
        };
        tracing::info!(
            pod = super::full_name(&self.pod),
            container = self.container.name,
            error,
            "preStop hook failed"
        );
        let name = Some(self.container.name.as_str());
        self.ctx.tell(&self.pod, name, Tone::Warning, "FailedPreStopHook", "PreStopHook failed");
    }

    async fn signal(&self, signal: &str) {
        if let Err(error) = self.ctx.runtime().kill(&self.id, signal).await {
            tracing::warn!(container = self.id, signal, %error, "cannot signal");
        }
    }
}

/// Asks a container to end, kills it after the grace, and waits until it is over. For a container that nobody watches
/// yet: its end is asked for, again and again, with growing pauses.
pub async fn signal_and_wait(ctx: &Context, id: &str, grace: u64) {
    let runtime = ctx.runtime();
    let stop = match runtime.inspect(id).await {
        Ok(Some(found)) if found.state.is_running() => found.stop_signal,
        _ => return,
    };
    let ended = || async {
        let mut pause = Duration::from_millis(20);
        while matches!(runtime.inspect(id).await, Ok(Some(found)) if found.state.is_running()) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    };
    let grace = Duration::from_secs(grace).max(SHORTEST);
    for (signal, patience) in [(stop.as_str(), grace), ("SIGKILL", AFTER_KILL)] {
        if let Err(error) = runtime.kill(id, signal).await {
            tracing::warn!(container = id, signal, %error, "cannot signal");
        }
        if tokio::time::timeout(patience, ended()).await.is_ok() {
            return;
        }
    }
}
