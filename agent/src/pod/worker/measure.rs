//! Whether a pod's volumes have grown beyond their limits.

use tokio::time::Instant;

use super::state::{Done, Measured, Measuring, Worker};
use crate::context::Context;
use crate::helper::Job;
use crate::labels::Owner;
use crate::times::instant_later;
use crate::volumes::{LimitedVolume, limited, usage};

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
        let volumes = limited(&self.ctx.places, &self.pod);
        if volumes.is_empty() {
            return;
        }
        self.measuring.under_way = true;
        let ctx = self.ctx.clone();
        self.spawn(MEASURE, 0, async move {
            let begun = Instant::now();
            let mut exceeded = None;
            for volume in volumes {
                if exceeds(&ctx, &volume).await {
                    exceeded = Some(volume.exceeded());
                    break;
                }
            }
            Done::Measured(Measured { took: begun.elapsed(), exceeded })
        });
    }

    /// The next try is as soon as the next beat.
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

/// Whether a volume is larger than it may be. What this process may not read, a helper reads.
async fn exceeds(ctx: &Context, volume: &LimitedVolume) -> bool {
    let (folder, limit) = (volume.folder.clone(), volume.limit);
    let seen = tokio::task::spawn_blocking(move || usage::of(&folder, limit)).await;
    let bytes = match seen {
        Ok(Ok(usage)) if usage.bytes > limit || !usage.partial => Ok(usage.bytes),
        Ok(_) => {
            let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
            let job = Job::Measure { folder: volume.folder.clone(), limit };
            ctx.runtime().help(&owner, &job).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match bytes {
        Ok(bytes) => bytes > limit,
        Err(error) => {
            tracing::warn!(folder = %volume.folder.display(), error, "cannot measure a volume");
            false
        }
    }
}
