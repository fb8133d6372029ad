//! Images: when to pull, what to say, how long to wait after a failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Tone};
use crate::pod::Failure;
use crate::runtime::{Error, Image, Runtime};
use crate::times::later;

/// Waits after a failed pull, in seconds: the first, and the longest.
const FIRST_WAIT: i64 = 10;
const LONGEST_WAIT: i64 = 300;

/// What a node knows of images.
#[derive(Default)]
pub struct Images {
    /// Pulls that failed lately, by pod and image.
    failed: Mutex<HashMap<(String, String), Failed>>,
    /// Pulls that are under way, by image: pods that want the same wait for the same pull.
    pulls: Mutex<HashMap<String, Pull>>,
    /// Whether one has come since somebody asked.
    changed: AtomicBool,
}

/// A pull that is under way, and what it comes to.
type Pull = Shared<BoxFuture<'static, Result<(), Error>>>;

#[derive(Clone, Debug)]
struct Failed {
    wait: i64,
    until: Timestamp,
    error: String,
}

impl Images {
    /// Forgets a pod's failures.
    pub fn forget(&self, uid: &str) {
        self.failed.lock().retain(|(of, _), _| of != uid);
    }

    /// Whether images have come since this was last asked.
    pub fn have_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Fetches an image, together with everybody else who wants it now. It is fetched to the end even when all of them
    /// have given up: the next to ask finds it here.
    async fn pull(&self, runtime: &Arc<dyn Runtime>, reference: &str) -> Result<(), Error> {
        let pull = {
            let mut pulls = self.pulls.lock();
            pulls.retain(|_, pull| pull.peek().is_none());
            let pull = pulls.entry(reference.to_owned()).or_insert_with(|| {
                let (runtime, reference) = (runtime.clone(), reference.to_owned());
                let task = tokio::spawn(async move { runtime.pull(&reference).await });
                let done =
                    task.map(|done| done.unwrap_or_else(|error| Err(Error::Refused(error.to_string()))));
                done.boxed().shared()
            });
            pull.clone()
        };
        let pulled = pull.await;
        self.changed.store(true, Ordering::Relaxed);
        pulled
    }

    fn waiting(&self, key: &(String, String), now: Timestamp) -> Option<Failed> {
        self.failed.lock().get(key).filter(|failed| failed.until > now).cloned()
    }

    fn note(&self, key: (String, String), now: Timestamp, error: &str) -> Timestamp {
        let mut failed = self.failed.lock();
        let wait = failed.get(&key).map_or(FIRST_WAIT, |known| (known.wait * 2).min(LONGEST_WAIT));
        let until = later(now, SignedDuration::from_secs(wait));
        failed.insert(key, Failed { wait, until, error: error.into() });
        until
    }
}

/// Sees to it that a container's image is here. Says what happens as events.
pub async fn ensure(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    cancel: &CancellationToken,
) -> Result<Image, Failure> {
    let reference = container.image.as_deref().unwrap_or_default();
    let wanted = Wanted { ctx, pod, container, reference };
    wanted.check()?;
    let here =
        crate::image::find(ctx.runtime(), reference).await.map_err(|error| wanted.unreachable(&error))?;
    match (container.image_pull_policy.as_deref().unwrap_or("IfNotPresent"), here) {
        ("Never", None) => {
            let message = format!("Container image {reference:?} is not present with pull policy of Never");
            wanted.tell(Tone::Warning, "ErrImageNeverPull", message.clone());
            Err(wanted.fail("ErrImageNeverPull", message, wanted.soon()))
        }
        ("Never" | "IfNotPresent", Some(image)) => {
            let message = format!(
                "Container image {reference:?} already present on machine and can be accessed by the pod"
            );
            wanted.tell(Tone::Normal, "Pulled", message);
            Ok(image)
        }
        (_, here) => wanted.pull(here, cancel).await,
    }
}

/// An image that a container of a pod wants.
struct Wanted<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    container: &'a Container,
    reference: &'a str,
}

impl Wanted<'_> {
    fn tell(&self, tone: Tone, reason: &str, message: String) {
        self.ctx.tell(self.pod, Some(&self.container.name), tone, reason, message);
    }

    fn fail(&self, reason: &str, message: String, until: Timestamp) -> Failure {
        self.tell(Tone::Warning, "Failed", format!("Error: {reason}"));
        Failure { reason: reason.into(), message, until }
    }

    fn in_seconds(&self, seconds: i64) -> Timestamp {
        later(self.ctx.clock.now(), SignedDuration::from_secs(seconds))
    }

    fn soon(&self) -> Timestamp {
        self.in_seconds(FIRST_WAIT)
    }

    fn unreachable(&self, error: &Error) -> Failure {
        Failure {
            reason: "ImageInspectError".into(),
            message: format!("Failed to inspect image {:?}: {error}", self.reference),
            until: self.soon(),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let reference = self.reference;
        check_name(reference).map_err(|why| {
            let message = format!(
                "Failed to apply default image tag {reference:?}: couldn't parse image name {reference:?}: {why}"
            );
            self.tell(Tone::Warning, "InspectFailed", message.clone());
            self.fail("InvalidImageName", message, self.soon())
        })
    }

    /// Fetches the image, unless that failed a short while ago. Where the registry cannot be reached, the one that is
    /// `here` will do.
    async fn pull(&self, here: Option<Image>, cancel: &CancellationToken) -> Result<Image, Failure> {
        let (ctx, reference) = (self.ctx, self.reference);
        let key = (self.pod.metadata.uid.clone().unwrap_or_default(), reference.to_owned());
        if let Some(failed) = ctx.images.waiting(&key, ctx.clock.now()) {
            let message = format!("Back-off pulling image {reference:?}");
            self.tell(Tone::Normal, "BackOff", message.clone());
            let message = format!("{message}: ErrImagePull: {}", failed.error);
            return Err(self.fail("ImagePullBackOff", message, failed.until));
        }
        self.tell(Tone::Normal, "Pulling", format!("Pulling image {reference:?}"));
        let begun = ctx.clock.now();
        let pulled = tokio::select! {
            pulled = ctx.images.pull(&ctx.config.runtime, reference) => pulled,
            () = cancel.cancelled() => {
                return Err(Failure { reason: String::new(), message: "cancelled".into(), until: begun });
            }
        };
        let error = match pulled {
            Err(error) => error.to_string(),
            Ok(()) => match ctx.runtime().image(reference).await.map_err(|error| self.unreachable(&error))? {
                Some(image) => {
                    self.tell_pulled(&image, begun);
                    return Ok(image);
                }
                None => "the image is not there after it was pulled".to_owned(),
            },
        };
        if let Some(image) = here.filter(|_| is_unreachable(&error)) {
            let message = format!(
                "The registry of image {reference:?} cannot be reached; using the image of this machine: {error}"
            );
            self.tell(Tone::Warning, "LocalImageUsed", message);
            return Ok(image);
        }
        self.tell(Tone::Warning, "Failed", format!("Failed to pull image {reference:?}: {error}"));
        ctx.images.note(key, ctx.clock.now(), &error);
        // Shown for a moment; the next try finds that it must wait, and says so.
        Err(self.fail("ErrImagePull", error, self.in_seconds(1)))
    }

    fn tell_pulled(&self, image: &Image, begun: Timestamp) {
        let took = go_duration(self.ctx.clock.now().duration_since(begun));
        let message = format!(
            "Successfully pulled image {:?} in {took} ({took} including waiting). Image size: {} bytes.",
            self.reference, image.size
        );
        self.tell(Tone::Normal, "Pulled", message);
    }
}

/// Whether a pull failed on the way to the registry, not in it.
fn is_unreachable(error: &str) -> bool {
    let signs = [
        "dial tcp",
        "no such host",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "no route to host",
        "TLS handshake timeout",
        "context deadline exceeded",
        "request canceled",
        "cannot be reached",
    ];
    signs.iter().any(|sign| error.contains(sign))
}

/// Checks an image's name, with the texts of `distribution/reference`.
fn check_name(reference: &str) -> Result<(), String> {
    let invalid = || Err("invalid reference format".to_owned());
    let (name, digest) =
        reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest {
        let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
        if hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return invalid();
        }
    }
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag {
        let head = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !head || tag.len() > 128 || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        {
            return invalid();
        }
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        parts.remove(0);
    }
    let lower = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && part.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    if parts.iter().all(lower) {
        return Ok(());
    }
    let lowered: Vec<String> = parts.iter().map(|part| part.to_lowercase()).collect();
    if lowered.iter().all(|part| lower(&part.as_str())) {
        let path = if path.contains('/') { path.to_owned() } else { format!("library/{path}") };
        return Err(format!("invalid reference format: repository name ({path}) must be lowercase"));
    }
    invalid()
}

/// A short duration as Go writes it: `1.234s`, `215ms`.
fn go_duration(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => {
            let text = format!("{}.{:03}", millis / 1000, millis % 1000);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => format!("{}m{}s", millis / 60_000, millis % 60_000 / 1000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coracle_client::Clock;

    use super::*;
    use crate::runtime::sim::SimRuntime;

    #[test]
    fn names_are_checked() {
        let good = [
            "busybox",
            "busybox:1.36",
            "localhost/pause:1",
            "registry.example:5000/a/b_c:V1",
            "coracle.dev/demo:v1",
        ];
        for name in good {
            assert_eq!(check_name(name), Ok(()), "name: {name}");
        }
        let upper = "invalid reference format: repository name (library/BusyBox) must be lowercase";
        let bad = [
            ("BusyBox", upper),
            ("a b", "invalid reference format"),
            ("", "invalid reference format"),
            ("a:-", "invalid reference format"),
            ("a@sha256:zz", "invalid reference format"),
            ("a//b", "invalid reference format"),
        ];
        for (name, error) in bad {
            assert_eq!(check_name(name), Err(error.to_owned()), "name: {name}");
        }
    }

    #[test]
    fn waits_double() {
        let images = Images::default();
        let now = Timestamp::from_second(1000).unwrap();
        let key = || ("u".to_owned(), "i".to_owned());
        let waits: Vec<i64> =
            (0..7).map(|_| images.note(key(), now, "e").duration_since(now).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert!(images.waiting(&key(), now).is_some());
        images.forget("u");
        assert!(images.waiting(&key(), now).is_none());
    }

    /// Pods of one Deployment want one image at one moment.
    #[tokio::test(start_paused = true)]
    async fn one_pull_serves_all_who_want_the_image() {
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        runtime.pulls_take(Duration::from_secs(10));
        let engine: Arc<dyn Runtime> = Arc::new(runtime.clone());
        let images = Images::default();
        let impatient = tokio::time::timeout(Duration::from_secs(1), images.pull(&engine, "a")).await;
        assert!(impatient.is_err() && !images.have_changed());
        let all = futures::future::join_all((0..5).map(|_| images.pull(&engine, "a")));
        let (all, other) = tokio::join!(all, images.pull(&engine, "b"));
        assert!(all.into_iter().all(|pulled| pulled.is_ok()) && other.is_ok());
        assert_eq!(runtime.pulls(), 2, "one for each image");
        assert!(images.have_changed() && !images.have_changed());
        images.pull(&engine, "a").await.unwrap();
        assert_eq!(runtime.pulls(), 3, "what is over is not shared");
    }
}
