//! Removing the files of pods. What containers wrote as root, a helper removes where this process may not.

use std::io;
use std::path::PathBuf;

use crate::context::Context;
use crate::helper::Job;
use crate::labels::Owner;
use crate::runtime::{Error, Runtime};
use crate::volumes;

/// Removes folders of an owner, with all that is in them.
///
/// # Errors
/// What is left, and why.
pub async fn remove(runtime: &dyn Runtime, owner: &Owner, folders: Vec<PathBuf>) -> Result<(), Error> {
    for folder in folders {
        let left = |error: io::Error| Error::Refused(format!("cannot remove {}: {error}", folder.display()));
        match remove_here(folder.clone()).await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                runtime.help(owner, &Job::Empty { folder: folder.clone() }).await?;
                remove_here(folder.clone()).await.map_err(left)?;
            }
            outcome => outcome.map_err(left)?,
        }
    }
    Ok(())
}

/// On a thread of its own: a slow disk must not hold up the pods.
async fn remove_here(folder: PathBuf) -> io::Result<()> {
    tokio::task::spawn_blocking(move || volumes::remove(&folder)).await.map_err(io::Error::other)?
}

/// Removes the files of a pod that is gone. What is left is told, and swept when the agent looks at all pods again.
pub async fn remove_pod(ctx: &Context, uid: &str) {
    let owner = Owner::node(&ctx.config.cluster, &ctx.config.node);
    if let Err(error) = remove(ctx.runtime(), &owner, ctx.places.of_pod(uid)).await {
        tracing::warn!(uid, %error, "files of a pod are left");
    }
}
