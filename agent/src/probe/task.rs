//! One probe of one container, asked again and again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::ask;
use super::counter::Counter;
use super::outcome::Outcome;
use super::purpose::Purpose;
use crate::context::Context;
use crate::event_type::EventType;

/// What a probe has found, after enough equal outcomes in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// The container's id.
    pub id: String,
    /// What the probe is for.
    pub purpose: Purpose,
    /// Whether all is well.
    pub success: bool,
}

/// A probe of one container.
pub struct ProbeTask {
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
    /// When the node accepted the pod.
    pub accepted: Timestamp,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// What the probe is for.
    pub purpose: Purpose,
    /// Where results go.
    pub results: mpsc::Sender<ProbeResult>,
}

impl ProbeTask {
    /// Asks until it is aborted. A liveness probe that has failed is done, and so is a startup probe with its first result.
    pub async fn run(self) {
        let Some(probe) = self.purpose.of(&self.container).cloned() else { return };
        let number =
            |field: Option<i32>, default: u32| field.and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
        let period = Duration::from_secs(u64::from(number(probe.period_seconds, 10).max(1)));
        let delay = i64::from(number(probe.initial_delay_seconds, 0));
        let mut counter =
            Counter::new(number(probe.success_threshold, 1), number(probe.failure_threshold, 3));
        // As a kubelet's, the ticks count from when the node accepted the pod, whenever its containers start. Besides,
        // readiness is asked for at once.
        let first = until_tick(self.ctx.clock.now().duration_since(self.accepted), period);
        let mut ticks = tokio::time::interval_at(Instant::now() + first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut at_once = self.purpose == Purpose::Readiness;
        loop {
            if !std::mem::take(&mut at_once) {
                ticks.tick().await;
            }
            if self.ctx.clock.now().duration_since(self.since).as_secs() < delay {
                continue;
            }
            let Some(success) = self.once(&probe).await.and_then(|success| counter.count(success)) else {
                continue;
            };
            let result = ProbeResult { id: self.id.clone(), purpose: self.purpose, success };
            if self.results.send(result).await.is_err() {
                return;
            }
            let done = match self.purpose {
                Purpose::Readiness => false,
                Purpose::Liveness => !success,
                Purpose::Startup => true,
            };
            if done {
                return;
            }
        }
    }

    /// Asks once and emits an event if something is wrong. `None`: nothing was found out.
    async fn once(&self, probe: &Probe) -> Option<bool> {
        let title = self.purpose.title();
        let emit = |reason: &str, message: String| {
            self.ctx.emit(&self.pod, Some(&self.container.name), EventType::Warning, reason, message);
        };
        match ask(self.ctx.runtime(), &self.container, &self.id, probe, self.address).await {
            Outcome::Success => Some(true),
            Outcome::Warning(what) => {
                emit("ProbeWarning", format!("{title} probe warning: {what}"));
                Some(true)
            }
            Outcome::Failure(why) => {
                emit("Unhealthy", format!("{title} probe failed: {why}"));
                Some(false)
            }
            Outcome::Unknown(why) => {
                emit("Unhealthy", format!("{title} probe errored and resulted in unknown state: {why}"));
                None
            }
        }
    }
}

/// How long it is to the next tick of a clock that began to tick so long ago.
fn until_tick(ago: SignedDuration, period: Duration) -> Duration {
    let ago = Duration::try_from(ago).unwrap_or_default();
    let into = ago.as_nanos() % period.as_nanos().max(1);
    period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_beat() {
        let cases = [(0, 5000), (1, 4999), (4999, 1), (5000, 5000), (12_345, 2655), (-3, 5000)];
        for (ago, expected) in cases {
            let wait = until_tick(SignedDuration::from_millis(ago), Duration::from_secs(5));
            assert_eq!(wait.as_millis(), expected, "{ago} ms ago");
        }
    }
}
