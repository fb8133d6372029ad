//! YAML as upstream writes it: keys sorted, two blanks, quotes only where they are needed.

use serde_json::Value;

/// The document for a tree.
pub fn emit(value: &Value) -> String {
    let sorted = sort(value);
    serde_saphyr::to_string(&sorted).unwrap_or_default()
}

fn sort(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_unstable_by_key(|(name, _)| *name);
            Value::Object(pairs.into_iter().map(|(name, value)| (name.clone(), sort(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sort).collect()),
        other => other.clone(),
    }
}
