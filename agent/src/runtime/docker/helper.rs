//! Has a job done by a helper: see [`crate::helper`].

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures::StreamExt;

use super::connection::DockerRuntime;
use crate::helper::{Job, VERB};
use crate::image;
use crate::labels::{CLUSTER, NODE};
use crate::runtime::{
    ContainerSpec, Error, Mount, MountSource, NetworkMode, Propagation, Runtime, Security, Share, Streams,
};

/// How long a helper may take. Folders of many files are removed by it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the engine may take to remove one that has ended.
const REMOVED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Has a job done and answers what came of it. The engine removes a helper as soon as it has ended, so that none is left
/// behind by an agent that was killed meanwhile.
///
/// # Errors
/// The helper cannot be made, does not end, or cannot do its job.
pub async fn run(
    runtime: &DockerRuntime,
    labels: &BTreeMap<String, String>,
    job: &Job,
) -> Result<u64, Error> {
    let image = image::helper(runtime).await?.id;
    let (runtime, spec) = (runtime.clone(), ContainerSpec { image, ..describe(labels, job) });
    // On a task of its own, so that it is removed even if nobody waits for its answer any more.
    let done = tokio::spawn(async move {
        let id = runtime.create(&spec).await?;
        let late = || Error::Refused(format!("a helper did not end within {} s", PATIENCE.as_secs()));
        let output = tokio::time::timeout(PATIENCE, output(&runtime, &id)).await;
        let output = output.unwrap_or_else(|_| Err(late()));
        if let Err(error) = gone(&runtime, &id).await {
            tracing::warn!(container = id, %error, "a helper is left");
        }
        Job::answer(&output?).map_err(|why| Error::Refused(format!("a helper failed: {why}")))
    });
    done.await.map_err(|error| Error::Refused(error.to_string()))?
}

/// Returns once a helper that has ended is gone. The engine removes it by itself, and takes a moment.
async fn gone(runtime: &DockerRuntime, id: &str) -> Result<(), Error> {
    let removed = async {
        loop {
            runtime.remove(id).await?;
            if runtime.inspect(id).await?.is_none() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let late = |_| Error::Refused("the engine does not remove it".into());
    tokio::time::timeout(REMOVED_WITHIN, removed).await.map_err(late)?
}

/// Starts a helper and reads what it writes. It is listened to before it starts: once it has ended it is gone.
async fn output(runtime: &DockerRuntime, id: &str) -> Result<String, Error> {
    let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
    let mut session = runtime.attach(id, streams).await?;
    runtime.start(id).await?;
    let mut written = Vec::new();
    while let Some(piece) = session.output.next().await {
        written.extend_from_slice(&piece?.data);
    }
    Ok(String::from_utf8_lossy(&written).into_owned())
}

/// The helper of a job. It may do what the job takes and nothing else.
fn describe(labels: &BTreeMap<String, String>, job: &Job) -> ContainerSpec {
    let own = |key: &str| labels.get(key).map(|value| (key.to_owned(), value.clone()));
    let cluster = labels.get(CLUSTER).map_or("none", String::as_str);
    let (capabilities, pid, mounts): (&[&str], _, _) = match job {
        Job::Kill { .. } => (&["KILL"], Share::Host, Vec::new()),
        Job::Empty { folder } | Job::Measure { folder, .. } => {
            let mount = Mount {
                source: MountSource::Path(folder.clone()),
                target: folder.to_string_lossy().into_owned(),
                read_only: matches!(job, Job::Measure { .. }),
                propagation: Propagation::Private,
            };
            (&["DAC_OVERRIDE", "FOWNER"], Share::Own, vec![mount])
        }
    };
    ContainerSpec {
        name: format!("coracle.{cluster}.helper.{:016x}", RandomState::new().hash_one(job.words())),
        labels: [own(CLUSTER), own(NODE)].into_iter().flatten().collect(),
        entrypoint: ["/coracle".to_owned(), VERB.to_owned()].into_iter().chain(job.words()).collect(),
        user: "0:0".into(),
        mounts,
        network: NetworkMode::None,
        pid,
        security: Security {
            cap_add: capabilities.iter().map(|name| (*name).to_owned()).collect(),
            cap_drop: vec!["ALL".into()],
            read_only_root: true,
            no_new_privileges: true,
            ..Security::default()
        },
        removed_at_end: true,
        ..ContainerSpec::default()
    }
}
