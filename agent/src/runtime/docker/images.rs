//! Images: finding, listing, pulling, importing.

use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters as query;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::answer::error_of;
use crate::runtime::{Error, Image};

/// How long a pull may go on without a sign of progress, and an import in all. A kubelet over Docker waited for a minute, of
/// the download only; here layers are unpacked in that time, too.
const PROGRESS: Duration = Duration::from_secs(300);

/// An image by reference or id.
pub async fn find(docker: &Docker, reference: &str) -> Result<Option<Image>, Error> {
    match docker.inspect_image(reference).await.map_err(error_of) {
        Ok(found) => {
            let config = found.config.unwrap_or_default();
            Ok(Some(Image {
                id: found.id.unwrap_or_default(),
                names: found.repo_tags.unwrap_or_default(),
                digests: found.repo_digests.unwrap_or_default(),
                user: config.user.unwrap_or_default(),
                labels: config.labels.unwrap_or_default().into_iter().collect(),
                size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            }))
        }
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All images with a name.
pub async fn list(docker: &Docker) -> Result<Vec<Image>, Error> {
    let found = docker.list_images(None::<query::ListImagesOptions>).await.map_err(error_of)?;
    let images = found.into_iter().map(|image| Image {
        id: image.id,
        names: image.repo_tags.into_iter().filter(|name| !name.starts_with("<none>")).collect(),
        digests: image.repo_digests,
        user: String::new(),
        labels: Default::default(),
        size: u64::try_from(image.size).unwrap_or(0),
    });
    Ok(images.filter(|image| !image.names.is_empty()).collect())
}

/// Fetches an image.
pub async fn pull(docker: &Docker, reference: &str) -> Result<(), Error> {
    let options = query::CreateImageOptions { from_image: Some(reference.into()), ..Default::default() };
    let mut progress = docker.create_image(Some(options), None, None);
    let stuck = |_| Error::Refused(format!("no progress within {} s, request canceled", PROGRESS.as_secs()));
    while let Some(step) = tokio::time::timeout(PROGRESS, progress.next()).await.map_err(stuck)? {
        step.map_err(error_of)?;
    }
    Ok(())
}

/// Makes an image of a tar.
pub async fn import(docker: &Docker, reference: &str, tar: Bytes, changes: &[String]) -> Result<(), Error> {
    let (repo, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let options = query::CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(repo.into()),
        tag: Some(tag.into()),
        changes: changes.to_vec(),
        ..Default::default()
    };
    let steps = docker.create_image(Some(options), Some(bollard::body_full(tar)), None);
    let done =
        tokio::time::timeout(PROGRESS, steps.map_err(error_of).try_for_each(|_| async { Ok(()) })).await;
    done.unwrap_or_else(|_| Err(Error::Refused(format!("no image within {} s", PROGRESS.as_secs()))))
}
