//! A pod as a workload makes it.

use coracle_client::Typed;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::owner::{controller_reference, name};

/// A pod as the template has it, owned by `owner` and with a name that the server makes of the owner's.
pub fn new_pod<O: Typed>(owner: &O, template: Option<&PodTemplateSpec>) -> Value {
    let template = template.cloned().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", name(owner.metadata())),
            "namespace": owner.metadata().namespace,
        },
        "spec": template.spec,
    });
    let parts = [
        ("labels", json!(meta.labels)),
        ("annotations", json!(meta.annotations)),
        ("finalizers", json!(meta.finalizers)),
    ];
    for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_null()) {
        pod["metadata"][key] = value;
    }
    pod["metadata"]["ownerReferences"] = json!([controller_reference(owner)]);
    pod
}
