//! Removing what belongs to no pod any more. Only the API says which pods are gone: that the agent does not know of a pod is
//! no reason to remove anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::{Object, kinds};
use coracle_client::{Error, Interest};

use crate::context::Context;
use crate::labels::{Identity, Owner};
use crate::runtime::{self, Container};

/// Containers by the uid of their pod.
pub type ByPod = BTreeMap<String, Vec<Container>>;

/// The node's containers by the uid of their pod.
pub async fn owned(ctx: &Context) -> Result<ByPod, runtime::Error> {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let mut found = ByPod::new();
    for container in ctx.runtime().containers(&owner).await? {
        if let Some(identity) = Identity::read(&container.labels) {
            found.entry(identity.uid).or_default().push(container);
        }
    }
    Ok(found)
}

/// The ids of the node's containers by the uid of their pod.
pub async fn ids(ctx: &Context) -> Result<BTreeMap<String, Vec<String>>, runtime::Error> {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, labels) in ctx.runtime().labels(&owner).await? {
        if let Some(identity) = Identity::read(&labels) {
            found.entry(identity.uid).or_default().push(id);
        }
    }
    Ok(found)
}

/// Which pods the agent answers for.
pub fn interest(ctx: &Context) -> Interest {
    Interest { fields: format!("spec.nodeName={}", ctx.config.node), ..Interest::all(&kinds::POD) }
}

/// The uids of listed pods, those of pods that cannot be read among them.
pub fn uids(pods: &[Arc<Object>]) -> BTreeSet<String> {
    let uid = |object: &Arc<Object>| object.value().ok()?["metadata"]["uid"].as_str().map(str::to_owned);
    pods.iter().filter_map(uid).collect()
}

/// Of pods whose containers were found, those that the API does not know any more.
///
/// The list is asked for after the containers were found: a container is made only for a pod that was bound here before,
/// so what a later list leaves out is gone for good.
pub async fn gone(ctx: &Context, found: impl Iterator<Item = &String>) -> Result<BTreeSet<String>, Error> {
    let found: Vec<&String> = found.collect();
    if found.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (pods, _) = ctx.client.list(&interest(ctx)).await?;
    let known = uids(&pods);
    Ok(found.into_iter().filter(|uid| !known.contains(*uid)).cloned().collect())
}

/// Removes containers whose pod is gone.
pub async fn remove(ctx: &Context, orphans: Vec<String>) {
    for id in orphans {
        // The list shows what labels an image has handed on, too: what somebody else runs of it is not ours to remove.
        match ctx.runtime().inspect(&id).await {
            Ok(Some(found)) if Identity::read(&found.labels).is_some() => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(container = id, %error, "cannot look at it; the next look tries again");
                continue;
            }
        }
        tracing::info!(container = id, "removing what belongs to no pod");
        if let Err(error) = ctx.runtime().remove(&id).await {
            tracing::warn!(container = id, %error, "cannot remove; the next look tries again");
        }
    }
}

/// Removes the files of pods that are not there any more.
pub async fn sweep_files(ctx: &Context, uids: &BTreeSet<String>) {
    for uid in ctx.files.pods().await.into_iter().filter(|uid| !uids.contains(uid)) {
        remove_files(ctx, &uid).await;
    }
}

/// Removes the files of a pod that is gone. What is left is removed when the agent looks at all pods again.
pub async fn remove_files(ctx: &Context, uid: &str) {
    if let Err(error) = ctx.files.remove(uid).await {
        tracing::warn!(uid, %error, "files of a pod are left");
    }
}
