//! JSON merge patch (RFC 7386).

use serde_json::Value;

/// Merges `patch` into `target`: maps key by key, `null` removes, anything else replaces. The order of keys in a map that
/// loses some is not kept: closing the gap for each of many would cost the square of the map.
///
/// ```
/// use serde_json::json;
/// let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
/// coracle_api::patch::merge(&mut value, json!({"a": {"b": null, "x": {"y": null}}, "d": [2]}));
/// assert_eq!(value, json!({"a": {"c": 2, "x": {}}, "d": [2]}));
/// ```
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(map.swap_remove(&key)),
            value => merge(map.entry(key).or_insert(Value::Null), value),
        }
    }
}
