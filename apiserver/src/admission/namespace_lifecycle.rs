//! Objects are created only in namespaces that exist and are not being deleted.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use async_trait::async_trait;
use coracle_api::status::{Cause, Details};
use coracle_api::{Key, Status, kinds};
use serde_json::Value;

use super::attributes::{Attributes, Operation};
use super::link::Link;

/// Namespaces that may not be deleted.
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Link for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let named = attributes.old["metadata"]["name"].as_str().unwrap_or_default();
        match attributes.operation {
            Operation::Delete if attributes.is_about(&kinds::NAMESPACE) && PROTECTED.contains(&named) => {
                Err(attributes.forbid(attributes.old, "this namespace may not be deleted"))
            }
            // A post to a subresource concerns an object that exists already, so the namespace need not be checked.
            Operation::Create if attributes.key.kind.namespaced && attributes.subresource.is_empty() => {
                takes_content(attributes, object).map(|()| false)
            }
            _ => Ok(false),
        }
    }
}

/// Whether the namespace exists and is not being deleted.
fn takes_content(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let name = &attributes.key.namespace;
    let Some(namespace) = attributes.find(&Key::new(&kinds::NAMESPACE, "", name.as_str())) else {
        return Err(Status::not_found(&kinds::NAMESPACE, name));
    };
    if !namespace.summary().deleting {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = attributes.forbid(object, &why);
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    };
    status.details = status.details.map(|details| Details { causes: vec![cause], ..details });
    Err(status)
}
