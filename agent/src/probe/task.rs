//! One probe of one container, asked again and again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::counter::Counter;
use super::{Outcome, Purpose, ask};
use crate::context::{Context, Tone};

/// What a probe thinks of a container now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// The container's id.
    pub id: String,
    /// What the probe is for.
    pub purpose: Purpose,
    /// Whether all is well.
    pub good: bool,
}

/// A probe and whom it asks.
pub struct Asker {
    /// What the node's pods share.
    pub ctx: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's part of the spec.
    pub container: Container,
    /// Its id.
    pub id: String,
    /// Since when it runs.
    pub since: Timestamp,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// What the probe is for.
    pub purpose: Purpose,
    /// Where changes of opinion go.
    pub opinions: mpsc::Sender<Opinion>,
}

impl Asker {
    /// Asks until dropped; a probe that gave the container up, or has seen it come up, is done.
    pub async fn run(self) {
        let Some(probe) = self.purpose.of(&self.container).cloned() else { return };
        let number =
            |field: Option<i32>, default: u32| field.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
        let period = Duration::from_secs(u64::from(number(probe.period_seconds, 10).max(1)));
        let delay = i64::from(number(probe.initial_delay_seconds, 0));
        let mut counter =
            Counter::new(number(probe.success_threshold, 1), number(probe.failure_threshold, 3));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.ctx.clock.now().duration_since(self.since).as_secs() < delay {
                continue;
            }
            let Some(good) = self.once(&probe).await.and_then(|good| counter.take(good)) else { continue };
            let opinion = Opinion { id: self.id.clone(), purpose: self.purpose, good };
            if self.opinions.send(opinion).await.is_err() {
                return;
            }
            let done = match self.purpose {
                Purpose::Readiness => false,
                Purpose::Liveness => !good,
                Purpose::Startup => true,
            };
            if done {
                return;
            }
        }
    }

    /// Asks once and tells people what is wrong. `None`: nothing is known.
    async fn once(&self, probe: &Probe) -> Option<bool> {
        let title = self.purpose.title();
        let tell = |reason: &str, message: String| {
            self.ctx.tell(&self.pod, Some(&self.container.name), Tone::Warning, reason, message);
        };
        match ask(&self.ctx, &self.container, &self.id, probe, self.address).await {
            Outcome::Success => Some(true),
            Outcome::Warning(what) => {
                tell("ProbeWarning", format!("{title} probe warning: {what}"));
                Some(true)
            }
            Outcome::Failure(why) => {
                tell("Unhealthy", format!("{title} probe failed: {why}"));
                Some(false)
            }
            Outcome::Unknown(why) => {
                tell("Unhealthy", format!("{title} probe errored and resulted in unknown state: {why}"));
                None
            }
        }
    }
}
