//! Images made of this program: its executable and the shared libraries that it has mapped. No registry, no download,
//! nothing to load.

mod program;
mod tar;

use std::io;

use bytes::Bytes;

use crate::runtime::{Error, Image, Runtime};

/// What every sandbox runs. It is made where it is not there and then kept: the number grows when sandboxes have to do
/// something new, so that one that an older `coracle` has made is not taken for it.
pub const PAUSE_IMAGE: &str = "coracle.dev/pause:2";

/// What every helper runs.
const HELPER_IMAGE: &str = "coracle.dev/helper:1";

/// The images of the demo application.
pub const DEMO_IMAGES: [&str; 3] = ["coracle.dev/demo:v1", "coracle.dev/demo:v2", "coracle.dev/demo:broken"];

/// The user that the demo application runs as: no user of the machine has this number.
const DEMO_USER: &str = "65532:65532";
/// The label by which an image knows the executable that it was made of.
const PROGRAM: &str = "coracle.dev/program";

/// One image is made at a time: they share their only layer.
static MAKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Makes the image of sandboxes, if it is not there.
pub async fn ensure(runtime: &dyn Runtime) -> Result<(), Error> {
    let _guard = MAKING.lock().await;
    if runtime.image(PAUSE_IMAGE).await?.is_some() {
        return Ok(());
    }
    let (program, fingerprint) = read().await.map_err(unreadable)?;
    let changes = [entrypoint("pause"), format!("LABEL {PROGRAM}={fingerprint}")];
    runtime.import(PAUSE_IMAGE, program, &changes).await?;
    Ok(())
}

/// An image that is here. One of the demo application is made where it is not here, or was made of another executable.
pub async fn find(runtime: &dyn Runtime, reference: &str) -> Result<Option<Image>, Error> {
    if !DEMO_IMAGES.contains(&reference) {
        return runtime.image(reference).await;
    }
    let version = reference.rsplit(':').next().unwrap_or_default();
    let mut changes = vec![
        entrypoint("demo-app"),
        format!("ENV DEMO_VERSION={version}"),
        format!("USER {DEMO_USER}"),
        "EXPOSE 3000".into(),
    ];
    if version == "broken" {
        changes.push("ENV DEMO_FAIL_READY=true".into());
    }
    of_this_program(runtime, reference, changes).await.map(Some)
}

/// The image of helpers, made of this very executable: it knows what this one asks of it. To be used by its id, since
/// another `coracle` on the same engine may give the name to its own.
pub async fn helper(runtime: &dyn Runtime) -> Result<Image, Error> {
    of_this_program(runtime, HELPER_IMAGE, vec![entrypoint(crate::helper::VERB)]).await
}

/// An image of this program, made where it is not here or was made of another executable.
async fn of_this_program(
    runtime: &dyn Runtime,
    reference: &str,
    mut changes: Vec<String>,
) -> Result<Image, Error> {
    let fingerprint = program::fingerprint().map_err(unreadable)?;
    let ours = |image: &Image| image.labels.get(PROGRAM) == Some(&fingerprint);
    if let Some(here) = runtime.image(reference).await?.filter(ours) {
        return Ok(here);
    }
    let _guard = MAKING.lock().await;
    // Whoever had the turn before may have made it.
    if let Some(here) = runtime.image(reference).await?.filter(ours) {
        return Ok(here);
    }
    let (program, fingerprint) = read().await.map_err(unreadable)?;
    changes.push(format!("LABEL {PROGRAM}={fingerprint}"));
    runtime.import(reference, program, &changes).await?;
    let made = runtime.image(reference).await?;
    made.ok_or_else(|| Error::NotFound(format!("{reference} is gone as soon as it was made")))
}

fn unreadable(error: io::Error) -> Error {
    Error::Refused(format!("cannot make an image of this program: {error}"))
}

fn entrypoint(verb: &str) -> String {
    format!("ENTRYPOINT [\"/coracle\",\"{verb}\"]")
}

/// The root folder of an image of this program as a tar, and the executable's fingerprint.
async fn read() -> io::Result<(Bytes, String)> {
    let reading = tokio::task::spawn_blocking(|| Ok((program::root()?, program::fingerprint()?)));
    reading.await.map_err(io::Error::other)?
}
