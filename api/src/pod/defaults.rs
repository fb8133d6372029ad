//! What a pod spec says where its author said nothing.
//!
//! Source: `pkg/apis/core/v1/defaults.go` and the generated callers beside it.

use serde_json::{Map, Value, json};

use crate::defaults::{each, fill_absent, fill_empty, map_at, within};
use crate::field::is_zero;
use crate::pod::resources;

/// Permissions of projected files where nobody asks for others.
const FILE_MODE: u32 = 0o644;

/// Fills in a pod. A template gets less: what depends on other fields waits until a pod is made of it.
pub fn default_pod(pod: &mut Value) {
    default_pod_template(pod);
    within(pod, "spec", |spec| {
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            each_container(spec, |container| each(container, "ports", host_port_is_container_port));
        }
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| within(container, "resources", requests_from_limits));
        }
        resources::default_pod_level(spec);
        fill_absent(spec, "enableServiceLinks", true);
    });
    within(pod, "status", sync_status_addresses);
}

/// Fills in the template (`metadata` and `spec`) of a workload.
pub fn default_pod_template(template: &mut Value) {
    fill_absent(template, "metadata", Map::new());
    fill_absent(template, "spec", Map::new());
    within(template, "spec", default_spec);
}

fn default_spec(spec: &mut Value) {
    each(spec, "volumes", default_volume);
    each_container(spec, default_container);
    fill_empty(spec, "dnsPolicy", "ClusterFirst");
    fill_empty(spec, "restartPolicy", "Always");
    fill_absent(spec, "securityContext", Map::new());
    fill_absent(spec, "terminationGracePeriodSeconds", 30);
    fill_empty(spec, "schedulerName", "default-scheduler");
    sync_service_account(spec);
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are always shown.
fn sync_service_account(spec: &mut Value) {
    let named = |spec: &Value, field: &str| spec.get(field).filter(|name| !is_zero(name)).cloned();
    if let Some(name) = named(spec, "serviceAccountName").or_else(|| named(spec, "serviceAccount")) {
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
}

/// Changes every container, of whichever list.
fn each_container(spec: &mut Value, mut change: impl FnMut(&mut Value)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, &mut change);
    }
}

fn default_container(container: &mut Value) {
    fill_empty(container, "terminationMessagePath", "/dev/termination-log");
    fill_empty(container, "terminationMessagePolicy", "File");
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if image_tag(image) == Some("latest") { "Always" } else { "IfNotPresent" };
    fill_empty(container, "imagePullPolicy", policy);
    fill_absent(container, "resources", Map::new());
    each(container, "ports", |port| fill_empty(port, "protocol", "TCP"));
    each(container, "env", |variable| within(variable, "valueFrom", default_reference));
    each(container, "env", |variable| {
        within(variable, "valueFrom", |from| {
            within(from, "fileKeyRef", |file| fill_absent(file, "optional", false));
        });
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, probe, default_probe);
    }
    within(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            within(lifecycle, hook, default_handler);
        }
    });
}

fn host_port_is_container_port(port: &mut Value) {
    if let Some(number) = port.get("containerPort").cloned() {
        fill_empty(port, "hostPort", number);
    }
}

fn default_probe(probe: &mut Value) {
    fill_empty(probe, "timeoutSeconds", 1);
    fill_empty(probe, "periodSeconds", 10);
    fill_empty(probe, "successThreshold", 1);
    fill_empty(probe, "failureThreshold", 3);
    default_handler(probe);
}

fn default_handler(handler: &mut Value) {
    within(handler, "httpGet", |get| {
        fill_empty(get, "path", "/");
        fill_empty(get, "scheme", "HTTP");
    });
    within(handler, "grpc", |grpc| fill_absent(grpc, "service", ""));
}

/// What an environment variable or a downward file refers to.
fn default_reference(source: &mut Value) {
    within(source, "fieldRef", |field| fill_empty(field, "apiVersion", "v1"));
    within(source, "resourceFieldRef", |resource| fill_absent(resource, "divisor", "0"));
}

/// The fields of a volume that name its source, and so the only ones beside its name.
fn has_source(volume: &Value) -> bool {
    volume.as_object().is_some_and(|v| v.iter().any(|(field, value)| field != "name" && !value.is_null()))
}

fn default_volume(volume: &mut Value) {
    if !has_source(volume) {
        fill_absent(volume, "emptyDir", Map::new());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, source, |source| fill_absent(source, "defaultMode", FILE_MODE));
    }
    within(volume, "downwardAPI", |downward| each(downward, "items", default_reference));
    within(volume, "projected", |projected| each(projected, "sources", default_projection));
    within(volume, "hostPath", |path| fill_absent(path, "type", ""));
    within(volume, "iscsi", |iscsi| fill_empty(iscsi, "iscsiInterface", "default"));
    within(volume, "rbd", |rbd| {
        fill_empty(rbd, "pool", "rbd");
        fill_empty(rbd, "user", "admin");
        fill_empty(rbd, "keyring", "/etc/ceph/keyring");
    });
    within(volume, "azureDisk", |disk| {
        fill_absent(disk, "cachingMode", "ReadWrite");
        fill_absent(disk, "kind", "Shared");
        fill_absent(disk, "fsType", "ext4");
        fill_absent(disk, "readOnly", false);
    });
    within(volume, "scaleIO", |disk| {
        fill_empty(disk, "storageMode", "ThinProvisioned");
        fill_empty(disk, "fsType", "xfs");
    });
    within(volume, "image", |image| {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = if image_tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" };
        fill_empty(image, "pullPolicy", policy);
    });
    within(volume, "ephemeral", |ephemeral| {
        within(ephemeral, "volumeClaimTemplate", |claim| {
            fill_absent(claim, "metadata", Map::new());
            fill_absent(claim, "spec", Map::new());
            within(claim, "spec", |spec| {
                fill_absent(spec, "volumeMode", "Filesystem");
                fill_absent(spec, "resources", Map::new());
            });
        });
    });
}

fn default_projection(source: &mut Value) {
    within(source, "downwardAPI", |downward| each(downward, "items", default_reference));
    within(source, "serviceAccountToken", |token| fill_absent(token, "expirationSeconds", 3600));
    within(source, "podCertificate", |certificate| fill_absent(certificate, "maxExpirationSeconds", 86400));
}

/// Who limits a resource and requests nothing of it requests the limit.
fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = map_at(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// `podIP` is the first of `podIPs`, whichever of the two was written; the same for the host.
fn sync_status_addresses(status: &mut Value) {
    for (one, many) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let first = status.get(many).and_then(|list| list.get(0)).and_then(|a| a.get("ip")).cloned();
        let single = status.get(one).filter(|ip| !is_zero(ip)).cloned();
        match (single, first) {
            (None, Some(ip)) if one == "podIP" => status[one] = ip,
            (Some(ip), first) if one == "podIP" && first.as_ref() != Some(&ip) => {
                status[many] = json!([{ "ip": ip }]);
            }
            _ => {}
        }
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
    let ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut legal = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().zip(bytes.last()).is_some_and(|(a, b)| ends(*a) && ends(*b))
            && bytes.iter().all(|c| ends(*c) || b"-_.".contains(c))
    };
    parts.all(&mut legal)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        default_pod(&mut pod);
        let once = pod.clone();
        default_pod(&mut pod);
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
        let mut template =
            json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
        default_pod_template(&mut template);
        assert_eq!(template["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(template["spec"].get("enableServiceLinks"), None);
    }
}
