//! References of a pod to its own fields and resources, which variables and files may show: the downward API.

use crate::field::{Errors, Field};
use crate::names::{is_one_of, qualified_name};
use crate::quantity::Quantity;

/// The fields of a pod that a variable may show.
pub const VARIABLE_FIELDS: &str = "metadata.name metadata.namespace metadata.uid spec.nodeName spec.serviceAccountName status.hostIP status.hostIPs status.podIP status.podIPs";

/// The fields of a pod that a file may show.
pub const FILE_FIELDS: &str =
    "metadata.annotations metadata.labels metadata.name metadata.namespace metadata.uid";

/// Further fields of a pod that have a name in this API, but cannot be shown.
const OTHER_FIELDS: &str = "spec.restartPolicy spec.schedulerName status.phase spec.host";

const RESOURCES: &str = "limits.cpu limits.ephemeral-storage limits.memory requests.cpu requests.ephemeral-storage requests.memory";

const BYTE_DIVISORS: &str = "1 1k 1M 1G 1T 1P 1E 1Ki 1Mi 1Gi 1Ti 1Pi 1Ei";

/// `metadata.labels['key']` as its two parts.
fn split_subscript(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    (!field.is_empty()).then_some((field, key))
}

/// What is wrong with the name of a field, whether or not it may be shown where it is used.
fn unconvertible(version: &str, path: &str) -> Option<String> {
    if version != "v1" {
        return Some(format!("unsupported pod version: {version}"));
    }
    match split_subscript(path) {
        Some(("metadata.annotations" | "metadata.labels", _)) => None,
        Some(_) => Some(format!("field label does not support subscript: {path}")),
        None if [VARIABLE_FIELDS, FILE_FIELDS, OTHER_FIELDS].iter().any(|fields| is_one_of(path, fields)) => {
            None
        }
        None => Some(format!("field label not supported: {path}")),
    }
}

/// A reference to a field of the pod; `allowed` are those without a subscript.
pub fn field_ref(reference: &Field, allowed: &str, errors: &mut Errors) {
    for name in ["apiVersion", "fieldPath"] {
        if !reference.has(name) {
            return errors.required(&reference.get(name), "");
        }
    }
    let path = reference.get("fieldPath");
    if let Some(problem) = unconvertible(reference.str("apiVersion"), path.text()) {
        return errors.wrong(&path, &format!("error converting fieldPath: {problem}"));
    }
    let field = if path.text() == "spec.host" { "spec.nodeName" } else { path.text() };
    match split_subscript(field) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.all_invalid(reference, &key, qualified_name(&key));
        }
        Some((_, key)) => errors.all_invalid(reference, key, qualified_name(key)),
        None if !is_one_of(field, allowed) => errors.not_supported(&path, field, allowed),
        None => {}
    }
}

/// A reference to what a container requests or is limited to.
pub fn resource_ref(reference: &Field, in_volume: bool, errors: &mut Errors) {
    let resource = reference.str("resource");
    let huge_pages = ["requests.hugepages-", "limits.hugepages-"].iter().any(|p| resource.starts_with(p));
    if in_volume && !reference.has("containerName") {
        errors.required(&reference.get("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&reference.get("resource"), "");
    } else if !is_one_of(resource, RESOURCES) && !huge_pages {
        errors.not_supported(&reference.get("resource"), resource, RESOURCES);
    }
    let divisor = reference.get("divisor");
    let Some(quantity) = Quantity::from_json(divisor.value).filter(|q| !q.is_zero()) else { return };
    let (allowed, called) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => ("1m 1", "cpu"),
        "memory" => (BYTE_DIVISORS, "memory"),
        "ephemeral-storage" => (BYTE_DIVISORS, "local ephemeral storage"),
        _ if huge_pages => (BYTE_DIVISORS, "hugepages"),
        _ => return,
    };
    if !is_one_of(&quantity.to_string(), allowed) {
        let allowed = allowed.replace(' ', if called == "cpu" { " and " } else { ", " });
        let detail = format!("only divisor's values {allowed} are supported with the {called} resource");
        errors.invalid(&divisor, resource, &detail);
    }
}
