//! What a pod spec says where its author said nothing, and what says it depends on other fields.
//!
//! Source: `pkg/apis/core/v1/defaults.go`; its constants stand in `data/defaults.txt`.

use serde_json::{Map, Value};

use super::containers::LISTS;
use crate::defaults::{each, fill_absent, fill_empty};
use crate::field::is_zero;
use crate::names::{is_digit_or_lower, shaped};
use crate::read::text;

/// Fills in a spec, of a pod or of a template.
pub fn complete_spec(spec: &mut Value) {
    each(spec, "volumes", &mut |volume| {
        // Beside its name a volume has only sources.
        let sources = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(field, value)| *field != "name" && !value.is_null());
        if sources.count() == 0 {
            fill_absent(volume, "emptyDir", Map::new());
        }
        each(volume, "image", &mut |image| {
            fill_empty(image, "pullPolicy", pull_policy(text(image, "/reference")))
        });
    });
    for list in LISTS {
        each(spec, list, &mut |container| {
            let policy = pull_policy(text(container, "/image"));
            fill_empty(container, "imagePullPolicy", policy);
        });
    }
    // `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
    let named = |field: &str| spec.get(field).filter(|name| !is_zero(name)).cloned();
    if let Some(name) = named("serviceAccountName").or_else(|| named("serviceAccount")) {
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
}

/// An image that may change under its tag is always pulled.
fn pull_policy(image: &str) -> &'static str {
    if image_tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of an image: `latest` where there is neither tag nor digest, nothing where there is only a digest or
/// where the name makes no sense.
///
/// ```
/// use coracle_api::podspec::image_tag;
/// assert_eq!(image_tag("registry:5000/a"), Some("latest"));
/// assert_eq!(image_tag("a:1.2"), Some("1.2"));
/// assert_eq!(image_tag("a@sha256:0000000000000000000000000000000000000000000000000000000000000000"), None);
/// assert_eq!(image_tag("Not An Image"), None);
/// ```
pub fn image_tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[last..].split_once(':') {
        Some((repository, tag)) => (&name[..last + repository.len()], Some(tag)),
        None => (name, None),
    };
    let legal = is_repository(repository) && tag.is_none_or(is_tag);
    match (tag, digest) {
        _ if !legal => None,
        (None, None) => Some("latest"),
        (tag, _) => tag,
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|c| word(c) || b"-.".contains(&c))
}

/// Whether each part between slashes is one of a registry's name (first, with a dot or a port) or of a path.
fn is_repository(repository: &str) -> bool {
    let mut parts = repository.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let is_host = repository.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if is_host {
        parts.next();
    }
    parts.all(|part| shaped(part, is_digit_or_lower, |c| b"-_.".contains(&c)))
}

#[cfg(test)]
mod tests {
    use crate::kinds::REPLICA_SET;
    use serde_json::json;

    #[test]
    fn a_template_waits_for_its_pods() {
        let spec = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]});
        let mut set = json!({"spec": {"template": {"spec": spec}}});
        REPLICA_SET.fill_in(&mut set);
        let spec = &set["spec"]["template"]["spec"];
        assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec.get("enableServiceLinks"), None);
    }
}
