//! What is filled in of a pod beside its spec, and what in its spec depends on other fields of it: that waits until a pod is
//! made of a template.
//!
//! Source: `SetDefaults_Pod` in `pkg/apis/core/v1/defaults.go`.

use serde_json::{Value, json};

use crate::defaults::{each, fill_absent, fill_empty, map_at};
use crate::field::is_zero;
use crate::podspec::{LISTS, complete_spec, resources};
use crate::read::is_true;

/// Fills in a pod.
pub fn complete_pod(pod: &mut Value) {
    each(pod, "spec", &mut |spec| {
        complete_spec(spec);
        let on_host = is_true(spec, "/hostNetwork");
        for list in LISTS {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::POD;

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
}
