//! What a pod spec says where its author said nothing, and what says it depends on other fields.
//!
//! Source: `pkg/apis/core/v1/defaults.go`; its constants stand in `data/defaults.txt`.

use serde_json::{Map, Value, json};

use crate::defaults::{each, fill_absent, fill_empty, map_at};
use crate::field::is_zero;
use crate::names::{is_digit_or_lower, shaped};
use crate::pod::resources;
use crate::read::{is_true, text};

/// Fills in a pod. A template gets less: what depends on other fields waits until a pod is made of it.
pub fn complete_pod(pod: &mut Value) {
    each(pod, "spec", &mut |spec| {
        complete_spec(spec);
        let on_host = is_true(spec, "/hostNetwork");
        for list in CONTAINERS {
            each(spec, &format!("{list}.ports"), &mut |port| {
                if let Some(number) = port.get("containerPort").cloned().filter(|_| on_host) {
                    fill_empty(port, "hostPort", number);
                }
            });
        }
        for list in ["containers.resources", "initContainers.resources"] {
            each(spec, list, &mut requests_from_limits);
        }
        resources::default_pod_level(spec);
        fill_absent(spec, "enableServiceLinks", true);
    });
    each(pod, "status", &mut sync_addresses);
}

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

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
    for list in CONTAINERS {
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

/// Who limits a resource and requests nothing of it requests the limit.
fn requests_from_limits(resources: &mut Value) {
    let limits = resources.get("limits").and_then(Value::as_object).filter(|limits| !limits.is_empty());
    if let Some(limits) = limits.cloned()
        && let Some(requests) = map_at(resources, "requests")
    {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// `podIP` is the first of `podIPs`, whichever of the two was written.
fn sync_addresses(status: &mut Value) {
    let first = status.pointer("/podIPs/0/ip").cloned();
    match status.get("podIP").filter(|ip| !is_zero(ip)).cloned() {
        None => first.into_iter().for_each(|ip| status["podIP"] = ip),
        single if single == first => {}
        Some(ip) => status["podIPs"] = json!([{ "ip": ip }]),
    }
}

/// The tag of an image: `latest` where there is neither tag nor digest, nothing where there is only a digest or
/// where the name makes no sense.
///
/// ```
/// use coracle_api::pod::image_tag;
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
    use super::*;
    use crate::kinds::{POD, REPLICA_SET};

    #[test]
    fn defaulting_twice_is_defaulting_once() {
        let mut pod = json!({"metadata": {"name": "x"}, "spec": {
            "hostNetwork": true,
            "serviceAccount": "robot",
            "volumes": [{"name": "a"}, {"name": "b", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
            "containers": [{
                "name": "c",
                "image": "a",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1"}},
                "livenessProbe": {"grpc": {"port": 1}, "timeoutSeconds": 0},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
        }});
        POD.fill_in(&mut pod);
        let once = pod.clone();
        POD.fill_in(&mut pod);
        assert_eq!(pod, once);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["ports"][0], json!({"containerPort": 80, "protocol": "TCP", "hostPort": 80}));
        assert_eq!(pod["spec"]["serviceAccountName"], "robot");
        assert_eq!(pod["spec"]["volumes"][0]["emptyDir"], json!({}));
    }

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
