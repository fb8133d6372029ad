//! Objects go into namespaces that are there and stay.
//!
//! Source: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use coracle_api::status::{Cause, Details};
use coracle_api::{Key, Status, kinds};
use serde_json::Value;

use super::Admission;

/// What the cluster cannot do without.
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn admit(admission: &Admission<'_>, object: &mut Value) -> Result<(), Status> {
    if !admission.kind.namespaced {
        return Ok(());
    }
    let name = admission.namespace;
    let Some(namespace) = admission.registry.entry(&Key::new(&kinds::NAMESPACE, "", name)) else {
        return Err(Status::not_found(&kinds::NAMESPACE, name));
    };
    if !namespace.summary().deleting {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = admission.forbid(object, &why);
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    };
    status.details = status.details.map(|details| Details { causes: vec![cause], ..details });
    Err(status)
}

/// Looks at a delete.
///
/// # Errors
/// 403 for what the cluster cannot do without.
pub fn admit_delete(key: &Key) -> Result<(), Status> {
    if *key.kind == kinds::NAMESPACE && PROTECTED.contains(&key.name.as_str()) {
        return Err(Status::forbidden(&key.kind, &key.name, "this namespace may not be deleted"));
    }
    Ok(())
}
