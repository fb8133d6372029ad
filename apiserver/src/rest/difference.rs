//! What a change changed, by field path: enough for a person to see what happened, without the objects.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The most fields shown of one change.
const MOST: usize = 40;
/// The longest value shown.
const LONGEST: usize = 80;

/// The fields that became different, with their new values where these are short and harmless: of the status, and of a
/// few others that say what was wanted. Everything else (data of secrets first of all) is only named.
pub fn difference(before: &Value, after: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    walk(&mut String::new(), before, after, &mut fields);
    fields
}

fn walk(path: &mut String, before: &Value, after: &Value, fields: &mut Map<String, Value>) {
    if before == after || fields.len() >= MOST || is_dull(path) {
        return;
    }
    let length = path.len();
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(map)) if !map.is_empty() => {
            let gone = before.as_object().into_iter().flatten().filter(|(key, _)| !map.contains_key(*key));
            for (key, _) in gone.chain(map) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                walk(path, &before[key], &after[key], fields);
                path.truncate(length);
            }
        }
        (Value::Array(_) | Value::Null, Value::Array(items))
            if items.iter().all(|item| label(item).is_some()) =>
        {
            let mut old: HashMap<&str, &Value> = HashMap::new();
            for item in before.as_array().into_iter().flatten() {
                old.entry(label(item).unwrap_or_default()).or_insert(item);
            }
            for item in items {
                let Some(name) = label(item) else { continue };
                path.push_str(&format!("[{name}]"));
                walk(path, old.get(name).copied().unwrap_or(&Value::Null), item, fields);
                path.truncate(length);
            }
        }
        _ => {
            let shown = if is_shown(path) { short(after) } else { Value::Null };
            fields.insert(path.clone(), shown);
        }
    }
}

/// By what people tell the items of a list apart.
fn label(item: &Value) -> Option<&str> {
    item["name"].as_str().or_else(|| item["type"].as_str())
}

/// What changes with every write.
fn is_dull(path: &str) -> bool {
    matches!(path, "metadata.managedFields" | "metadata.resourceVersion" | "metadata.generation")
}

fn is_shown(path: &str) -> bool {
    path.starts_with("status.")
        || matches!(path, "spec.nodeName" | "spec.replicas" | "spec.paused" | "spec.unschedulable")
        || path == "metadata.deletionTimestamp"
}

fn short(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST => Value::Null,
        Value::String(_) | Value::Number(_) | Value::Bool(_) => value.clone(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_by_path_and_values_only_where_harmless() {
        let cases = [
            (json!({ "spec": {} }), json!({ "spec": { "nodeName": "a" } }), json!({ "spec.nodeName": "a" })),
            (
                json!({ "data": { "a": "old" } }),
                json!({ "data": { "a": "new", "b": "x" } }),
                json!({ "data.a": null, "data.b": null }),
            ),
            (
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }),
                json!({ "status.conditions[Ready].status": "True" }),
            ),
            (
                json!({ "status": { "containerStatuses": [{ "name": "c", "state": { "waiting": {} } }] } }),
                json!({ "status": { "containerStatuses": [{ "name": "c", "state": { "running": { "startedAt": "now" } } }] } }),
                json!({ "status.containerStatuses[c].state.waiting": null, "status.containerStatuses[c].state.running.startedAt": "now" }),
            ),
            (
                json!({ "metadata": { "resourceVersion": "1" } }),
                json!({ "metadata": { "resourceVersion": "2" } }),
                json!({}),
            ),
            (json!({ "spec": { "a": 1 } }), json!({ "spec": {} }), json!({ "spec": null })),
        ];
        for (before, after, expected) in cases {
            assert_eq!(Value::Object(difference(&before, &after)), expected);
        }
    }
}
