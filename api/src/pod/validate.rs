//! The rules for a pod spec.

use serde_json::Value;

use crate::field::{Errors, Path};

/// The rules for a new pod, beyond those of `metadata`.
pub fn validate_pod(_pod: &Value, _errors: &mut Errors) {}

/// The rules for the template (`metadata` and `spec`) of a workload, which lies at `path`.
pub fn validate_pod_template(_template: &Value, _path: &Path<'_>, _errors: &mut Errors) {}
