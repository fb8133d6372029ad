//! Removing what belongs to no pod any more.

use crate::context::Context;
use crate::runtime::Container;

/// Removes containers whose pod the API does not know.
pub async fn remove(ctx: &Context, orphans: Vec<Container>) {
    for orphan in orphans {
        tracing::info!(container = orphan.id, "removing what belongs to no pod");
        if let Err(error) = ctx.runtime().remove(&orphan.id).await {
            tracing::warn!(container = orphan.id, %error, "cannot remove");
        }
    }
}

/// Removes the files of pods that are not there any more.
pub async fn sweep_files(ctx: &Context, uids: &[String]) {
    let (places, uids) = (ctx.places.clone(), uids.to_vec());
    let sweep = move || {
        for uid in places.known().into_iter().filter(|uid| !uids.contains(uid)) {
            if let Err(error) = places.remove(&uid) {
                tracing::warn!(uid, %error, "cannot remove a pod's files");
            }
        }
    };
    // Cannot fail but by a panic, which the next sweep makes up for.
    let _ = tokio::task::spawn_blocking(sweep).await;
}
