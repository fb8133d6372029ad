//! Ending a container: its preStop hook, its stop signal, and at the deadline the kill. Each once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hooks;
use crate::context::Context;
use crate::event_type::EventType;
use crate::spec::full_name;
use crate::times::instant_later;

/// The time that a container gets after its hook, even if the hook has used up the whole grace period.
pub const SHORTEST: Duration = Duration::from_secs(2);
/// How long the engine may take to report the end of what was killed, before it is killed again.
const AFTER_KILL: Duration = Duration::from_secs(15);
/// Waits before a signal that the engine did not take is sent again: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

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
    /// When it is killed. May be moved while the stop is under way: hook and signal are not repeated.
    pub deadline: watch::Receiver<Instant>,
    /// Set when it has ended.
    pub ended: CancellationToken,
}

impl Stop {
    /// Ends the container; returns when it has ended.
    pub async fn run(mut self) {
        let ended = self.ended.clone();
        ended.run_until_cancelled(self.end()).await;
    }

    async fn end(&mut self) {
        self.hook().await;
        let least = Instant::now() + SHORTEST;
        let mut backoff = self.ctx.backoff(AGAIN.0, AGAIN.1);
        while !self.signal(&self.signal).await && Instant::now() < *self.deadline.borrow() {
            let again = Instant::now() + backoff.next_wait();
            let deadline = (*self.deadline.borrow()).max(least);
            tokio::time::sleep_until(again.min(deadline)).await;
        }
        self.wait_for_deadline(least).await;
        backoff.reset();
        loop {
            let pause = if self.signal("SIGKILL").await { AFTER_KILL } else { backoff.next_wait() };
            tokio::time::sleep(pause).await;
            match self.ctx.runtime().inspect(&self.id).await {
                Ok(Some(found)) if found.state.is_running() => {
                    tracing::warn!(container = self.id, "a killed container has not ended yet");
                }
                Ok(_) => return,
                Err(error) => tracing::warn!(container = self.id, %error, "cannot look at what was killed"),
            }
        }
    }

    /// Waits until the deadline, which may be moved meanwhile, and at least until the shortest time is over.
    async fn wait_for_deadline(&mut self, least: Instant) {
        loop {
            let at = (*self.deadline.borrow_and_update()).max(least);
            tokio::select! {
                biased;
                Ok(()) = self.deadline.changed() => {}
                () = tokio::time::sleep_until(at) => return,
            }
        }
    }

    async fn hook(&mut self) {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone());
        let no_time = *self.deadline.borrow() <= Instant::now();
        let Some(hook) = hook.filter(|_| !no_time) else { return };
        let (ctx, container, id) = (self.ctx.clone(), self.container.clone(), self.id.clone());
        let run = hooks::run(&ctx, &container, &id, &hook, self.address);
        let error = tokio::select! {
            biased;
            () = self.wait_for_deadline(Instant::now()) => "it took longer than the grace period".into(),
            outcome = run => match outcome {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        tracing::info!(
            pod = full_name(&self.pod),
            container = self.container.name,
            error,
            "preStop hook failed"
        );
        let name = Some(self.container.name.as_str());
        self.ctx.emit(&self.pod, name, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
    }

    /// Whether the engine took it.
    async fn signal(&self, signal: &str) -> bool {
        let sent = self.ctx.runtime().kill(&self.id, signal).await;
        if let Err(error) = &sent {
            tracing::warn!(container = self.id, signal, %error, "cannot signal");
        }
        sent.is_ok()
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
        let until = instant_later(Instant::now(), patience);
        if tokio::time::timeout_at(until, ended()).await.is_ok() {
            return;
        }
    }
}
