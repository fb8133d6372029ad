//! Cells that many tables share.

use jiff::Timestamp;
use serde_json::Value;

use super::time::since;
use crate::read::{entries, list, text};
use crate::selector;

/// Time since the object's creation.
pub fn age(object: &Value, now: Timestamp) -> Value {
    since(object.pointer("/metadata/creationTimestamp"), now).into()
}

/// A value as a column of a type prints it; nothing where there is none, or one of another type.
///
/// Source: `cellForJSONValue` in `k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.
pub fn typed(value: Option<&Value>, of_type: &str, now: Timestamp) -> Value {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Value::Null };
    match (of_type, value) {
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            #[allow(clippy::cast_possible_truncation)]
            // As upstream prints a fraction in a column of whole numbers.
            let whole = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64));
            whole.map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if text.parse::<Timestamp>().is_ok() => since(Some(value), now).into(),
        ("date", Value::String(_)) => "<invalid>".into(),
        _ => Value::Null,
    }
}

/// The text, or `<none>` where it is empty.
pub fn or_none(text: &str) -> Value {
    or(text, "<none>")
}

/// The text, or another where it is empty.
pub fn or(text: &str, otherwise: &str) -> Value {
    if text.is_empty() { otherwise.into() } else { text.into() }
}

/// How many entries a map or a list has.
pub fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

/// `a=1,b=2`, sorted; `<none>` for an empty map.
pub fn labels(object: &Value, pointer: &str) -> Value {
    let mut pairs: Vec<String> = entries(object, pointer)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or_none(&pairs.join(","))
}

/// The names of the containers of a workload's template.
pub fn template_containers(object: &Value, _: Timestamp) -> Value {
    template(object, "/name")
}

/// The images of the containers of a workload's template.
pub fn template_images(object: &Value, _: Timestamp) -> Value {
    template(object, "/image")
}

fn template(object: &Value, pointer: &str) -> Value {
    let containers = list(object, "/spec/template/spec/containers").iter();
    containers.map(|container| text(container, pointer)).collect::<Vec<_>>().join(",").into()
}

/// A workload's selector, in the language of `-l`.
pub fn selector(object: &Value, _: Timestamp) -> Value {
    match object.pointer("/spec/selector").map(selector::from_object) {
        None => "<none>".into(),
        Some(Ok(selector)) => or_none(&selector.to_string()),
        Some(Err(_)) => "<error>".into(),
    }
}
