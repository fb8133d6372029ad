//! Every pod runs as a service account, whose token it finds in a well-known place.
//!
//! Source: `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use coracle_api::{Key, Status, kinds};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admission;
use crate::registry::meta::generate_name;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and a little: upstream's way to tell its own tokens from those that people ask for.
const TOKEN_SECONDS: i64 = 3607;
/// Pods that a node made by itself, and only shows to the server.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How often, and how long in all, a pod waits for its namespace's account `default`, which a controller makes a moment after
/// the namespace.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const WAIT_AT_MOST: Duration = Duration::from_millis(1500);

/// What a pod takes over from its account.
#[derive(Deserialize)]
struct Account {
    #[serde(rename = "automountServiceAccountToken")]
    mounts: Option<bool>,
    #[serde(rename = "imagePullSecrets", default)]
    secrets: Vec<Value>,
}

/// Gives the controllers time to make the account that a new pod runs as if it names none.
pub async fn await_default(admission: &Admission<'_>, pod: &Value) {
    if !admission.is_pod()
        || !matches!(pod["spec"]["serviceAccountName"].as_str(), None | Some("" | "default"))
    {
        return;
    }
    let account = Key::new(&kinds::SERVICE_ACCOUNT, admission.namespace, "default");
    let namespace = Key::new(&kinds::NAMESPACE, "", admission.namespace);
    let appears = async {
        while admission.registry.get(&account).is_none() && admission.registry.get(&namespace).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // Without it the pod is refused, with upstream's words.
    let _ = tokio::time::timeout(WAIT_AT_MOST, appears).await;
}

pub(super) fn admit(admission: &Admission<'_>, pod: &mut Value) -> Result<(), Status> {
    if !admission.is_pod() || pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return Ok(());
    }
    let spec = &pod["spec"];
    let name = match spec["serviceAccountName"].as_str().unwrap_or_default() {
        "" => "default".to_string(),
        name => name.to_string(),
    };
    let namespace = admission.namespace;
    let key = Key::new(&kinds::SERVICE_ACCOUNT, namespace, &name);
    let Some(account) = admission.registry.get(&key) else {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(admission.forbid(pod, &why));
    };
    let account: Account = account.decode().map_err(Status::internal)?;
    let mounts = spec["automountServiceAccountToken"].as_bool().or(account.mounts).unwrap_or(true);
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    spec.insert("serviceAccountName".into(), name.as_str().into());
    // The same under its old name, for clients that know no other.
    spec.insert("serviceAccount".into(), name.into());
    if spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && !account.secrets.is_empty()
    {
        spec.insert("imagePullSecrets".into(), account.secrets.into());
    }
    if mounts {
        mount_token(&mut pod["spec"]);
    }
    Ok(())
}

fn mount_token(spec: &mut Value) {
    let mut names = spec["volumes"].as_array().into_iter().flatten().filter_map(|v| v["name"].as_str());
    let existing = names.find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_string);
    let name = existing.clone().unwrap_or_else(|| generate_name(VOLUME_PREFIX, &mut rand::rng()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            needed |= mount_in(container, &name);
        }
    }
    if needed && existing.is_none() {
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume(&name)),
            None => spec["volumes"] = json!([volume(&name)]),
        }
    }
}

/// Whether the container wants the token: not if it mounts something there itself.
fn mount_in(container: &mut Value, volume: &str) -> bool {
    /// The fields behind the mounts in Go's struct.
    const BEHIND: [&str; 12] = [
        "volumeDevices",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "imagePullPolicy",
        "securityContext",
        "stdin",
        "stdinOnce",
        "tty",
    ];
    let Some(container) = container.as_object_mut() else { return false };
    let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH});
    match container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
        Some(mounts) if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) => return false,
        Some(mounts) => mounts.push(mount),
        None => {
            let behind = container.keys().position(|name| BEHIND.contains(&name.as_str()));
            let place = behind.unwrap_or(container.len());
            container.shift_insert(place, "volumeMounts".into(), json!([mount]));
        }
    }
    true
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
            "defaultMode": 420,
        },
    })
}
