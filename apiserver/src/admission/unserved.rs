//! What the cluster's own agents cannot do (yet): such fields are stored, and their writer is told.
//!
//! Only said where the cluster's nodes are Coracle's: an API server alone does not know who acts on its objects, and
//! must not speak for others. See `docs/adr/0010-warnings-for-what-is-not-done.md`.

use coracle_api::Kind;
use serde_json::Value;

/// The fields, below a pod's `spec`; `*` is every item of a list, `=X` a value that begins so. One place, so that the list
/// shrinks in one place.
const FIELDS: &[&[&str]] = &[
    &["hostUsers"],
    &["imagePullSecrets"],
    &["resourceClaims"],
    &["resources", "limits"],
    &["schedulingGroup"],
    &["securityContext", "appArmorProfile"],
    &["securityContext", "seLinuxOptions"],
    &["securityContext", "supplementalGroupsPolicy", "=Strict"],
    &["securityContext", "windowsOptions"],
    &["volumes", "*", "emptyDir", "medium", "=HugePages"],
    &["volumes", "*", "projected", "sources", "*", "clusterTrustBundle"],
    &["volumes", "*", "projected", "sources", "*", "podCertificate"],
    &["volumes", "*", "awsElasticBlockStore"],
    &["volumes", "*", "azureDisk"],
    &["volumes", "*", "azureFile"],
    &["volumes", "*", "cephfs"],
    &["volumes", "*", "cinder"],
    &["volumes", "*", "csi"],
    &["volumes", "*", "ephemeral"],
    &["volumes", "*", "fc"],
    &["volumes", "*", "flexVolume"],
    &["volumes", "*", "flocker"],
    &["volumes", "*", "gcePersistentDisk"],
    &["volumes", "*", "gitRepo"],
    &["volumes", "*", "glusterfs"],
    &["volumes", "*", "image"],
    &["volumes", "*", "iscsi"],
    &["volumes", "*", "nfs"],
    &["volumes", "*", "persistentVolumeClaim"],
    &["volumes", "*", "photonPersistentDisk"],
    &["volumes", "*", "portworxVolume"],
    &["volumes", "*", "quobyte"],
    &["volumes", "*", "rbd"],
    &["volumes", "*", "scaleIO"],
    &["volumes", "*", "storageos"],
    &["volumes", "*", "vsphereVolume"],
];

/// The same, below each container.
const OF_CONTAINERS: &[&[&str]] = &[
    &["env", "*", "valueFrom", "fileKeyRef"],
    &["resources", "limits", "ephemeral-storage"],
    &["securityContext", "appArmorProfile"],
    &["securityContext", "seLinuxOptions"],
    &["securityContext", "windowsOptions"],
    &["volumeDevices"],
    &["volumeMounts", "*", "recursiveReadOnly", "=Enabled"],
    &["volumeMounts", "*", "recursiveReadOnly", "=IfPossible"],
];

const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// The texts for an object.
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    let Some(pointer) = kind.pod_spec else { return Vec::new() };
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let spec = object.pointer(pointer).unwrap_or(&Value::Null);
    let mut found = Vec::new();
    for field in FIELDS {
        seek(spec, field, path.clone(), &mut found);
    }
    for (list, field) in
        CONTAINERS.iter().flat_map(|list| OF_CONTAINERS.iter().map(move |field| (list, field)))
    {
        seek(spec, &[&[*list, "*"], *field].concat(), path.clone(), &mut found);
    }
    found
        .iter()
        .map(|path| format!("{path}: stored, but this cluster's nodes do not act on it yet"))
        .collect()
}

fn seek(value: &Value, field: &[&str], path: String, found: &mut Vec<String>) {
    match field {
        [] => found.push(path),
        ["*", rest @ ..] => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                seek(item, rest, format!("{path}[{index}]"), found);
            }
        }
        [name, ..] if name.starts_with('=') => {
            if value.as_str().is_some_and(|value| value.starts_with(&name[1..])) {
                found.push(path);
            }
        }
        [name, rest @ ..] => {
            if let Some(value) = value.get(name).filter(|value| !value.is_null()) {
                seek(value, rest, format!("{path}.{name}"), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use coracle_api::schema::Schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_is_named_by_its_own_path() {
        let spec =
            json!({"containers": [{"name": "c"}], "volumes": [{"emptyDir": {}}, {"nfs": {"server": "s"}}]});
        let pod = warnings(&kinds::POD, &json!({ "spec": spec }));
        let text =
            |path: &str| vec![format!("{path}: stored, but this cluster's nodes do not act on it yet")];
        assert_eq!(pod, text("spec.volumes[1].nfs"));
        let set = warnings(&kinds::REPLICA_SET, &json!({"spec": {"template": {"spec": spec}}}));
        assert_eq!(set, text("spec.template.spec.volumes[1].nfs"));
        assert!(warnings(&kinds::CONFIG_MAP, &json!({ "spec": spec })).is_empty());
    }

    #[test]
    fn values_are_told_apart() {
        let spec = json!({
            "securityContext": {"supplementalGroupsPolicy": "Merge"},
            "volumes": [{"emptyDir": {"medium": "Memory"}}, {"emptyDir": {"medium": "HugePages-2Mi"}}],
            "initContainers": [{"resources": {"limits": {"cpu": "1", "ephemeral-storage": "1Gi"}}}],
            "containers": [{"volumeMounts": [{"recursiveReadOnly": "Disabled"}]}],
        });
        let all_warnings = warnings(&kinds::POD, &json!({ "spec": spec }));
        let paths: Vec<&str> = all_warnings.iter().filter_map(|text| text.split(':').next()).collect();
        assert_eq!(
            paths,
            ["spec.volumes[1].emptyDir.medium", "spec.initContainers[0].resources.limits.ephemeral-storage"]
        );
    }

    /// A misspelled path would never warn.
    #[test]
    fn every_field_is_one_of_a_pod() {
        let spec = Schema::of("io.k8s.api.core.v1.PodSpec").expect("pods have a schema");
        let container = Schema::of("io.k8s.api.core.v1.Container").expect("containers have a schema");
        let all = FIELDS.iter().map(|field| (spec, field));
        for (root, field) in all.chain(OF_CONTAINERS.iter().map(|field| (container, field))) {
            let mut schema = root;
            for step in field.iter().filter(|step| !step.starts_with('=')) {
                let next = if *step == "*" { schema.items() } else { schema.child(step) };
                schema = next.unwrap_or_else(|| panic!("{field:?}: {step} is no field"));
            }
        }
    }
}
