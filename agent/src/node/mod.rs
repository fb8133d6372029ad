//! The Node object: registered at start, and again when somebody has deleted it; its status and lease are renewed as long as
//! the agent lives.

mod as_kubelet;
mod lease;
mod prepare;
mod register;
pub mod slice;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::StartError;
pub use prepare::prepare_network;
pub use register::register;
use status::EngineInfo;

/// How often the status is looked at: upstream's `nodeStatusUpdateFrequency`.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Says for the first time that the node is there and ready.
///
/// # Errors
/// The API does not answer, or refuses.
pub async fn report_first(ctx: &Context) -> Result<(), StartError> {
    report(ctx, &mut EngineInfo::default(), true).await
}

/// Renews the lease, and looks at the status now and then, until the node stops.
pub async fn keep_alive(ctx: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(ctx.config.timing.lease_renewal);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut known = EngineInfo::default();
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = looked.elapsed() >= LOOK_EVERY;
        if look {
            looked = Instant::now();
            ctx.objects.sweep(ctx.config.timing.refresh * 4);
        }
        let renewed =
            tokio::time::timeout(ctx.config.timing.lease_duration, report(&ctx, &mut known, look)).await;
        match renewed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(node = ctx.config.node, %error, "cannot report"),
            Err(_) => tracing::warn!(node = ctx.config.node, "reporting takes too long"),
        }
    }
}

/// Renews the lease, and puts the Node back if it is gone. `look`: the status, too.
async fn report(ctx: &Context, known: &mut EngineInfo, look: bool) -> Result<(), StartError> {
    let may_be_gone = !lease::renew(ctx).await?;
    let own = Some(ctx.addresses.slice());
    let gone = (look || may_be_gone) && slice::of_node(ctx.client.as_ref(), &ctx.config.node).await? != own;
    if gone {
        register::put_back(ctx).await?;
        lease::renew(ctx).await?;
    }
    if look || gone {
        let health = known.refresh(ctx).await;
        status::write(ctx, known, &health).await?;
    }
    Ok(())
}
