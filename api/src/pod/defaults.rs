//! What a pod spec says where its author said nothing.

use serde_json::Value;

/// Fills in a pod.
pub fn default_pod(_pod: &mut Value) {}

/// Fills in the template (`metadata` and `spec`) of a workload.
pub fn default_pod_template(_template: &mut Value) {}
