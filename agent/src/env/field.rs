//! What a pod may read of itself: `fieldRef` and `resourceFieldRef`, for variables and for files alike.

use std::collections::BTreeMap;

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::facts::Facts;

/// The value of a field of a pod; an error in upstream's words.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.clone().unwrap_or_default(),
            "metadata.annotations" => annotations(pod, facts),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.clone().unwrap_or_default()),
        "metadata.annotations" => lines(annotations(pod, facts)),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" | "status.podIPs" => facts.pod_ip.clone(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']` cut in two.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A pod's annotations as the node sees them: with when it saw them, and where they came from.
fn annotations(pod: &Pod, facts: &Facts) -> BTreeMap<String, String> {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.entry("kubernetes.io/config.seen".into()).or_insert_with(|| facts.seen.clone());
    annotations.entry("kubernetes.io/config.source".into()).or_insert_with(|| "api".into());
    annotations
}

/// `key="value"` lines, sorted; values quoted as Go quotes them.
fn lines(map: BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", go_quoted(value))).collect::<Vec<_>>().join("\n")
}

fn go_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's resource in units of the selector's divisor, rounded up. A limit that is not set is what
/// the node has; a request that is not set is 0.
pub fn resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, String> {
    let path = selector.resource.as_str();
    let (list, resource) =
        path.split_once('.').ok_or_else(|| format!("unsupported container resource : {path}"))?;
    let resources = container.resources.clone().unwrap_or_default();
    let set = match list {
        "limits" => resources.limits,
        "requests" => resources.requests,
        _ => return Err(format!("unsupported container resource : {path}")),
    };
    let set = set.unwrap_or_default().get(resource).and_then(|quantity| quantity.0.parse::<Quantity>().ok());
    let divisor = selector.divisor.as_ref().and_then(|quantity| quantity.0.parse::<Quantity>().ok());
    let divisor = divisor.filter(|divisor| !divisor.is_zero());
    let of_node = |amount: Quantity| if list == "limits" { amount } else { Quantity::ZERO };
    let parts = match resource {
        "cpu" => {
            let value = set.unwrap_or_else(|| of_node(Quantity::milli(facts.node_cpu_milli)));
            (value.milli_value(), divisor.map_or(1000, |divisor| divisor.milli_value()))
        }
        "memory" => {
            let value = set.unwrap_or_else(|| of_node(Quantity::bytes(facts.node_memory)));
            (value.value(), divisor.map_or(1, |divisor| divisor.value()))
        }
        "ephemeral-storage" => {
            let value = set.unwrap_or_else(|| of_node(Quantity::bytes(facts.node_storage)));
            (value.value(), divisor.map_or(1, |divisor| divisor.value()))
        }
        _ if resource.starts_with("hugepages-") => {
            let value = set.map_or(0, |quantity| quantity.value());
            (value, divisor.map_or(1, |divisor| divisor.value()))
        }
        _ => return Err(format!("unsupported container resource : {path}")),
    };
    let (value, divisor) = (i128::from(parts.0), i128::from(parts.1.max(1)));
    Ok(((value + divisor - 1).div_euclid(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> Facts {
        Facts {
            pod_ip: "10.88.0.2".into(),
            host_ip: "10.88.0.1".into(),
            node_cpu_milli: 2000,
            node_memory: 4 << 30,
            node_storage: 10 << 30,
            seen: "2026-11-22T15:43:00.000000000Z".into(),
        }
    }

    #[test]
    fn fields_are_read() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "x", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a.io/x": "1", "e": ""},
                         "annotations": {"n": "q\"uo\nte", "m": "plain \\ ü"}},
            "spec": {"nodeName": "node-1", "containers": []}
        }))
        .unwrap();
        let cases = [
            ("metadata.name", "x"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['nope']", ""),
            ("metadata.labels", "a.io/x=\"1\"\nb=\"2\"\ne=\"\""),
            ("metadata.annotations['m']", "plain \\ ü"),
            ("spec.nodeName", "node-1"),
            ("status.podIPs", "10.88.0.2"),
        ];
        for (path, expected) in cases {
            assert_eq!(field(&pod, path, &facts()), Ok(expected.to_owned()), "path: {path}");
        }
        let notes = field(&pod, "metadata.annotations", &facts()).unwrap();
        assert!(notes.ends_with("m=\"plain \\\\ ü\"\nn=\"q\\\"uo\\nte\""), "{notes}");
        assert!(field(&pod, "spec.volumes", &facts()).is_err());
    }

    #[test]
    fn resources_round_up() {
        let container: Container = serde_json::from_value(json!({"name": "c", "resources": {
            "limits": {"cpu": "1500m", "memory": "100Mi"}, "requests": {"cpu": "250m", "memory": "33Mi"}}}))
        .unwrap();
        let bare: Container = serde_json::from_value(json!({"name": "c"})).unwrap();
        let cases = [
            (&container, "limits.cpu", None, "2"),
            (&container, "limits.cpu", Some("1m"), "1500"),
            (&container, "requests.cpu", None, "1"),
            (&container, "limits.memory", None, "104857600"),
            (&container, "limits.memory", Some("1M"), "105"),
            (&container, "requests.memory", Some("1Ki"), "33792"),
            (&container, "requests.memory", Some("1Gi"), "1"),
            (&bare, "limits.cpu", None, "2"),
            (&bare, "limits.memory", Some("1Gi"), "4"),
            (&bare, "requests.cpu", Some("1m"), "0"),
        ];
        for (container, resource_name, divisor, expected) in cases {
            let selector: ResourceFieldSelector =
                serde_json::from_value(json!({"resource": resource_name, "divisor": divisor})).unwrap();
            let got = resource(container, &selector, &facts());
            assert_eq!(got, Ok(expected.to_owned()), "{resource_name} by {divisor:?}");
        }
    }
}
