//! YAML as upstream writes it.

use serde_json::Value;

/// The document for a tree.
pub fn emit(value: &Value) -> String {
    coracle_api::document::yaml::write(value)
}
