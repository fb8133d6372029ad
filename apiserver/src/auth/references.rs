//! What a pod names: the objects that its node must be able to read.
//!
//! Source: `VisitPodSecretNames` and `VisitPodConfigmapNames` in `pkg/api/v1/pod/util.go`.

use serde_json::Value;

/// The annotation of pods that a node runs by itself and only shows to the server. Such a pod gives its node no right to anything.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Volumes that name a secret as `secretRef.name`.
const BY_REFERENCE: [&str; 7] = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];

/// Whether a pod names an object of these resources: `secrets`, `configmaps`, `persistentvolumeclaims`, `serviceaccounts`.
pub fn names(pod: &Value, resource: &str, name: &str) -> bool {
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return false;
    }
    let is = |value: &Value| value.as_str() == Some(name);
    match resource {
        "persistentvolumeclaims" => claims(&pod["spec"], &pod["metadata"]["name"], name),
        resource => finds(&pod["spec"], resource, &is),
    }
}

/// Whether a pod names any object of a resource, mirror pods included.
pub fn names_any(pod: &Value, resource: &str) -> bool {
    let is = |value: &Value| value.as_str().is_some_and(|name| !name.is_empty());
    match resource {
        "persistentvolumeclaims" => each(&pod["spec"], "volumes").any(|volume| {
            is(&volume["persistentVolumeClaim"]["claimName"]) || volume["ephemeral"].is_object()
        }),
        resource => finds(&pod["spec"], resource, &is),
    }
}

fn finds(spec: &Value, resource: &str, is: &impl Fn(&Value) -> bool) -> bool {
    match resource {
        "secrets" => secrets(spec, is),
        "configmaps" => config_maps(spec, is),
        "serviceaccounts" => is(&spec["serviceAccountName"]),
        _ => false,
    }
}

fn each<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| each(spec, list))
}

fn secrets(spec: &Value, is: &impl Fn(&Value) -> bool) -> bool {
    let in_container = |container: &Value| {
        each(container, "envFrom").any(|source| is(&source["secretRef"]["name"]))
            || each(container, "env").any(|env| is(&env["valueFrom"]["secretKeyRef"]["name"]))
    };
    let in_volume = |volume: &Value| {
        is(&volume["secret"]["secretName"])
            || is(&volume["azureFile"]["secretName"])
            || is(&volume["csi"]["nodePublishSecretRef"]["name"])
            || BY_REFERENCE.iter().any(|kind| is(&volume[*kind]["secretRef"]["name"]))
            || each(&volume["projected"], "sources").any(|source| is(&source["secret"]["name"]))
    };
    containers(spec).any(in_container)
        || each(spec, "volumes").any(in_volume)
        || each(spec, "imagePullSecrets").any(|pull| is(&pull["name"]))
}

fn config_maps(spec: &Value, is: &impl Fn(&Value) -> bool) -> bool {
    let in_container = |container: &Value| {
        each(container, "envFrom").any(|source| is(&source["configMapRef"]["name"]))
            || each(container, "env").any(|env| is(&env["valueFrom"]["configMapKeyRef"]["name"]))
    };
    let in_volume = |volume: &Value| {
        is(&volume["configMap"]["name"])
            || each(&volume["projected"], "sources").any(|source| is(&source["configMap"]["name"]))
    };
    containers(spec).any(in_container) || each(spec, "volumes").any(in_volume)
}

/// Claims by name, and those that are made for the pod from a template within it.
fn claims(spec: &Value, pod: &Value, name: &str) -> bool {
    let made = |volume: &Value| {
        let (Some(pod), Some(volume)) = (pod.as_str(), volume["name"].as_str()) else { return false };
        name.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-')) == Some(volume)
    };
    each(spec, "volumes").any(|volume| {
        volume["persistentVolumeClaim"]["claimName"] == name
            || (volume["ephemeral"].is_object() && made(volume))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_named_in_many_places() {
        let cases = [
            ("secrets", json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]})),
            (
                "secrets",
                json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
            ),
            ("secrets", json!({"volumes": [{"secret": {"secretName": "s"}}]})),
            ("secrets", json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]})),
            ("secrets", json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]})),
            ("secrets", json!({"volumes": [{"cephfs": {"secretRef": {"name": "s"}}}]})),
            ("secrets", json!({"imagePullSecrets": [{"name": "s"}]})),
            ("configmaps", json!({"ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "s"}}]}]})),
            (
                "configmaps",
                json!({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}}]}]}),
            ),
            ("configmaps", json!({"volumes": [{"configMap": {"name": "s"}}]})),
            ("configmaps", json!({"volumes": [{"projected": {"sources": [{"configMap": {"name": "s"}}]}}]})),
            ("persistentvolumeclaims", json!({"volumes": [{"persistentVolumeClaim": {"claimName": "s"}}]})),
            ("serviceaccounts", json!({"serviceAccountName": "s"})),
        ];
        let all = ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"];
        for (resource, spec) in cases {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            for other in all {
                assert_eq!(names(&pod, other, "s"), other == resource, "{other} in {pod}");
                assert_eq!(names_any(&pod, other), other == resource, "any {other} in {pod}");
            }
            assert!(!names(&pod, resource, "t"), "{pod}");
            let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}, "spec": pod["spec"]});
            assert!(!names(&mirror, resource, "s"), "a node must not grant itself what it likes: {mirror}");
        }
        let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "v", "ephemeral": {}}]}});
        assert!(
            names(&pod, "persistentvolumeclaims", "p-v") && !names(&pod, "persistentvolumeclaims", "p-w")
        );
    }
}
