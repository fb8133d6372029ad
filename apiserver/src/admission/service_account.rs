//! Every pod runs as a service account, whose token it finds in a well-known place.
//!
//! Source: `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use async_trait::async_trait;
use coracle_api::{Key, Status, kinds};
use serde::Deserialize;
use serde_json::{Value, json};

use super::attributes::{Attributes, Extras, Operation};
use super::link::Link;
use super::mountable_secrets::{self, Wanted};
use crate::auth::references::{MIRROR, names_any};
use crate::entry::Entry;
use crate::write::meta::generate_name;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and a little: upstream's way to tell its own tokens from those that people ask for.
const TOKEN_SECONDS: i64 = 3607;

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

pub(super) struct ServiceAccount;

#[async_trait]
impl Link for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let concerns = attributes.operation == Operation::Create && attributes.is_about(&kinds::POD);
        if !concerns {
            return Ok(false);
        }
        if pod["metadata"]["annotations"].get(MIRROR).is_some() {
            return mirror(pod).map_or(Ok(false), |why| Err(attributes.forbid(pod, why)));
        }
        let spec = &pod["spec"];
        let name = match spec["serviceAccountName"].as_str().unwrap_or_default() {
            "" => "default".to_string(),
            name => name.to_string(),
        };
        let namespace = attributes.key.namespace.as_str();
        let Some(account) = account(attributes, namespace, &name).await else {
            return Err(attributes.forbid(pod, &unknown(namespace, &name)));
        };
        let account: Account = account.object.decode().map_err(Status::internal)?;
        let mounts = spec["automountServiceAccountToken"].as_bool().or(account.mounts).unwrap_or(true);
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(false) };
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
        Ok(true)
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value, _: &mut Extras) -> Result<(), Status> {
        let wanted = match (attributes.operation, attributes.subresource) {
            (Operation::Create, "") => Wanted::Pod,
            (Operation::Update, "ephemeralcontainers") => Wanted::EphemeralContainers,
            _ => return Ok(()),
        };
        if !attributes.key.kind.is_pod() || pod["metadata"]["annotations"].get(MIRROR).is_some() {
            return Ok(());
        }
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        let Some(account) = account(attributes, &attributes.key.namespace, name).await else {
            return Err(attributes.forbid(pod, &unknown(&attributes.key.namespace, name)));
        };
        match mountable_secrets::refusal(&account.value(), &pod["spec"], wanted) {
            Some(why) => Err(attributes.forbid(pod, &why)),
            None => Ok(()),
        }
    }
}

fn unknown(namespace: &str, name: &str) -> String {
    format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found")
}

/// The account. The controllers are given time to make the one that a new namespace's pods run as.
async fn account(attributes: &Attributes<'_>, namespace: &str, name: &str) -> Option<Entry> {
    let account = Key::new(&kinds::SERVICE_ACCOUNT, namespace, name);
    let found = attributes.find(&account);
    if found.is_some() || name != "default" {
        return found;
    }
    let home = Key::new(&kinds::NAMESPACE, "", namespace);
    let appears = async {
        while attributes.find(&account).is_none() && attributes.find(&home).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(WAIT_AT_MOST, appears).await;
    attributes.find(&account)
}

/// Why a pod that a node made by itself, and only shows to the server, may not be shown. Nothing is filled in: it would not be the
/// pod that runs.
fn mirror(pod: &Value) -> Option<&'static str> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut sources =
        list(&pod["spec"]["volumes"]).into_iter().flat_map(|volume| list(&volume["projected"]["sources"]));
    if names_any(pod, "serviceaccounts") {
        Some("a mirror pod may not reference service accounts")
    } else if names_any(pod, "secrets") {
        Some("a mirror pod may not reference secrets")
    } else if sources.any(|source| source["serviceAccountToken"].is_object()) {
        Some("a mirror pod may not use service account token volume projections")
    } else {
        None
    }
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
    /// The fields after the mounts in Go's struct.
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
            let position = behind.unwrap_or(container.len());
            container.shift_insert(position, "volumeMounts".into(), json!([mount]));
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
