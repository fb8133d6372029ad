//! A container's image: when it is pulled, and which events are emitted about it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::event_type::EventType;
use crate::images::FIRST_WAIT;
use crate::pod::Failure;
use crate::runtime::{Error, Image};
use crate::times::later;

/// Sees to it that a container's image is here. Says what happens as events.
pub async fn ensure(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    cancel: &CancellationToken,
) -> Result<Image, Failure> {
    let reference = container.image.as_deref().unwrap_or_default();
    let wanted = WantedImage { ctx, pod, container, reference };
    wanted.check()?;
    let here =
        crate::image::find(ctx.runtime(), reference).await.map_err(|error| wanted.unreachable(&error))?;
    match (container.image_pull_policy.as_deref().unwrap_or("IfNotPresent"), here) {
        ("Never", None) => {
            let message = format!("Container image {reference:?} is not present with pull policy of Never");
            wanted.emit(EventType::Warning, "ErrImageNeverPull", message.clone());
            Err(wanted.fail("ErrImageNeverPull", message, wanted.soon()))
        }
        ("Never" | "IfNotPresent", Some(image)) => {
            let message = format!(
                "Container image {reference:?} already present on machine and can be accessed by the pod"
            );
            wanted.emit(EventType::Normal, "Pulled", message);
            Ok(image)
        }
        (_, here) => wanted.pull(here, cancel).await,
    }
}

/// An image that a container of a pod wants.
struct WantedImage<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    container: &'a Container,
    reference: &'a str,
}

impl WantedImage<'_> {
    fn emit(&self, event_type: EventType, reason: &str, message: String) {
        self.ctx.emit(self.pod, Some(&self.container.name), event_type, reason, message);
    }

    fn fail(&self, reason: &str, message: String, until: Timestamp) -> Failure {
        self.emit(EventType::Warning, "Failed", format!("Error: {reason}"));
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
            self.emit(EventType::Warning, "InspectFailed", message.clone());
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
            self.emit(EventType::Normal, "BackOff", message.clone());
            let message = format!("{message}: ErrImagePull: {}", failed.error);
            return Err(self.fail("ImagePullBackOff", message, failed.until));
        }
        self.emit(EventType::Normal, "Pulling", format!("Pulling image {reference:?}"));
        let begun = ctx.clock.now();
        let pulled = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                return Err(Failure { reason: String::new(), message: "cancelled".into(), until: begun });
            }
            pulled = ctx.images.pull(&ctx.config.runtime, reference) => pulled,
        };
        let error = match pulled {
            Err(error) => error.to_string(),
            Ok(()) => match ctx.runtime().image(reference).await.map_err(|error| self.unreachable(&error))? {
                Some(image) => {
                    self.emit_pulled(&image, begun);
                    return Ok(image);
                }
                None => "the image is not there after it was pulled".to_owned(),
            },
        };
        if let Some(image) = here.filter(|_| is_unreachable(&error)) {
            let message = format!(
                "The registry of image {reference:?} cannot be reached; using the image of this machine: {error}"
            );
            self.emit(EventType::Warning, "LocalImageUsed", message);
            return Ok(image);
        }
        self.emit(EventType::Warning, "Failed", format!("Failed to pull image {reference:?}: {error}"));
        ctx.images.note(key, ctx.clock.now(), &error);
        // This failure is shown for a moment; the next attempt finds that it has to wait, and shows that.
        Err(self.fail("ErrImagePull", error, self.in_seconds(1)))
    }

    fn emit_pulled(&self, image: &Image, begun: Timestamp) {
        let took = go_duration(self.ctx.clock.now().duration_since(begun));
        let message = format!(
            "Successfully pulled image {:?} in {took} ({took} including waiting). Image size: {} bytes.",
            self.reference, image.size
        );
        self.emit(EventType::Normal, "Pulled", message);
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
    use super::*;

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
}
