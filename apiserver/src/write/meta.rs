//! What the server itself keeps in `metadata`. Pure: time and randomness come in as arguments.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The letters of generated names: no vowels, so that no words come out, and nothing that looks like something else.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A time as `metadata` shows it, to the second.
pub fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a time of `metadata`.
pub fn read_time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `metadata` to write to; made if it is missing.
pub fn meta(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("made just above"),
    }
}

/// A field of `metadata` as text; empty if absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The finalizers of an object.
pub fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}

/// Whether an object is being deleted.
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Fills in what every new object has.
pub fn fill_new(object: &mut Value, now: Timestamp, uid: &str) {
    let meta = meta(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        meta.shift_remove(field);
    }
    meta.insert("uid".into(), uid.into());
    meta.insert("creationTimestamp".into(), time_text(now).into());
}

/// Makes a name from a prefix, as upstream does: five letters, the whole never longer than 63.
pub fn generate_name(prefix: &str, random: &mut impl rand::Rng) -> String {
    let mut end = prefix.len().min(63 - 5);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_string();
    for _ in 0..5 {
        name.push(char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    }
    name
}

/// Puts back what a write to an existing object may leave out or may not change silently.
pub fn fill_changed(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let meta = meta(new);
    meta.shift_remove("selfLink");
    if meta.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        put(meta, "uid", &old["uid"]);
    }
    put(meta, "creationTimestamp", &old["creationTimestamp"]);
    put(meta, "generation", &old["generation"]);
    if !old["deletionTimestamp"].is_null() {
        put(meta, "deletionTimestamp", &old["deletionTimestamp"]);
    }
    if meta.get("deletionGracePeriodSeconds").is_none_or(Value::is_null) {
        put(meta, "deletionGracePeriodSeconds", &old["deletionGracePeriodSeconds"]);
    }
}

fn put(meta: &mut Map<String, Value>, field: &str, value: &Value) {
    if value.is_null() {
        meta.shift_remove(field);
    } else {
        meta.insert(field.into(), value.clone());
    }
}

/// Drops what is empty and what upstream's types leave out when they are encoded: empty maps, lists and strings of `metadata`.
pub fn tidy(object: &mut Value) {
    let meta = meta(object);
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    };
    meta.retain(|name, value| name == "deletionGracePeriodSeconds" && value.is_number() || !empty(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn generated_names_fit_and_keep_the_prefix() {
        let mut random = StdRng::seed_from_u64(1);
        let cases = [("web-", 9), (&"a".repeat(80), 63), (&"é".repeat(40), 63)];
        for (prefix, length) in cases {
            let name = generate_name(prefix, &mut random);
            assert!(name.len() <= length, "{name}");
            assert!(name[name.len() - 5..].bytes().all(|b| LETTERS.contains(&b)), "{name}");
        }
    }
}
