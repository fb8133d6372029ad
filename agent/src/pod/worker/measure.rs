//! Whether a pod's volumes have grown beyond their limits.

use tokio::time::Instant;

use super::state::{Done, Measured, Measuring, Worker};
use crate::context::Context;
use crate::times::instant_later;
use crate::volumes::{LimitedVolume, limited};

/// The name of the task that measures volumes: no container can be called so.
pub(super) const MEASURE: &str = "MEASURE";
/// Measuring takes at most one part in so many of the time: a volume of a million files is looked at less often.
const SHARE: u32 = 100;

impl Worker {
    /// Measures the volumes that have a limit, unless that is under way or was done a short while ago.
    pub(super) fn measure(&mut self) {
        let state = &self.measuring;
        let early = state.not_before.is_some_and(|time| Instant::now() < time);
        let up = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.running);
        if early || !up || state.under_way || state.exceeded.is_some() {
            return;
        }
        let volumes = limited(&self.pod);
        if volumes.is_empty() {
            return;
        }
        self.measuring.under_way = true;
        let (ctx, uid) = (self.ctx.clone(), self.pod.metadata.uid.clone().unwrap_or_default());
        self.spawn(MEASURE, 0, async move {
            let begun = Instant::now();
            let mut exceeded = None;
            for volume in volumes {
                if exceeds(&ctx, &uid, &volume).await {
                    exceeded = Some(volume.exceeded());
                    break;
                }
            }
            Done::Measured(Measured { took: begun.elapsed(), exceeded })
        });
    }

    /// It is tried again at the next refresh.
    pub(super) fn measuring_panicked(&mut self) {
        self.measuring.under_way = false;
    }

    pub(super) fn note_measured(&mut self, measured: Measured) {
        self.measuring = Measuring {
            under_way: false,
            not_before: Some(instant_later(Instant::now(), measured.took.saturating_mul(SHARE))),
            exceeded: measured.exceeded,
        };
    }
}

/// Whether a volume is larger than it may be.
async fn exceeds(ctx: &Context, uid: &str, volume: &LimitedVolume) -> bool {
    match ctx.files.usage(uid, &volume.name, volume.limit).await {
        Ok(bytes) => bytes > volume.limit,
        Err(error) => {
            tracing::warn!(uid, volume = volume.name, %error, "cannot measure a volume");
            false
        }
    }
}
