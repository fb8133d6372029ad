//! What the cluster's own agents cannot do (yet): such fields are stored, and their writer is told.
//!
//! Only said where the cluster's nodes are Coracle's: an API server alone does not know who acts on its objects, and
//! must not speak for others. See `docs/adr/0010-warnings-for-what-is-not-done.md`.

use coracle_api::{KindRef, kinds};
use serde_json::Value;

/// The fields, below a pod's `spec`; `*` is every item of a list. One place, so that the list shrinks in one place.
const FIELDS: &[&[&str]] = &[
    &["hostUsers"],
    &["resourceClaims"],
    &["schedulingGroup"],
    &["initContainers", "*", "volumeDevices"],
    &["containers", "*", "volumeDevices"],
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

/// The texts for an object.
pub fn warnings(kind: KindRef, object: &Value) -> Vec<String> {
    let (spec, path) = if *kind == kinds::POD {
        (&object["spec"], "spec")
    } else if *kind == kinds::DEPLOYMENT || *kind == kinds::REPLICA_SET {
        (&object["spec"]["template"]["spec"], "spec.template.spec")
    } else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for field in FIELDS {
        seek(spec, field, path.to_string(), &mut found);
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
        [name, rest @ ..] => {
            if let Some(value) = value.get(name).filter(|value| !value.is_null()) {
                seek(value, rest, format!("{path}.{name}"), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
