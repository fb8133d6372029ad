//! Merge patches that say only what changed.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`; `None` if they are equal. Lists are replaced whole.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => difference(before, value),
            // A patch with an empty object in it makes that object.
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_names_only_what_changed() {
        let cases = [
            ("equal", json!({"a": 1}), json!({"a": 1}), None),
            ("changed", json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), Some(json!({"b": 3}))),
            ("gone", json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (
                "new, and deep",
                json!({"s": {"a": 1}}),
                json!({"s": {"a": 1, "n": 2}}),
                Some(json!({"s": {"n": 2}})),
            ),
            ("lists whole", json!({"l": [1, 2]}), json!({"l": [1, 3]}), Some(json!({"l": [1, 3]}))),
        ];
        for (name, old, new, expected) in cases {
            assert_eq!(difference(&old, &new), expected, "case: {name}");
        }
    }
}
