//! The index card of an object: what lists and watches ask of it, read once when it is written.

use std::sync::{Arc, OnceLock};

use coracle_api::kind::Selectable;
use coracle_api::{Key, KindRef, Object, Revision};
use serde_json::{Map, Value};

use crate::store::Encoded;

/// What selectors look at, so that no reader decodes an object to pass it over.
#[derive(Clone, Debug, Default)]
pub struct Card {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// `metadata.labels`; few, so that looking through them is quick.
    labels: Vec<(String, String)>,
    /// The values of the kind's selectable fields, in the order of its row; none for what the key says.
    fields: Vec<String>,
}

impl Card {
    /// The card of an object.
    pub fn of(kind: KindRef, object: &Value) -> Card {
        let meta = &object["metadata"];
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let field = |s: &Selectable| if is_in_key(s.field) { String::new() } else { s.value(object) };
        Card {
            uid: meta["uid"].as_str().unwrap_or_default().into(),
            deleting: meta["deletionTimestamp"].is_string(),
            labels: meta["labels"].as_object().into_iter().flatten().filter_map(label).collect(),
            fields: kind.selectable.iter().map(field).collect(),
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

fn is_in_key(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

/// An object with its card.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object.
    pub object: Arc<Object>,
    /// Written when it is first asked for: what is read from disk at a start is often never looked at.
    card: Arc<OnceLock<Card>>,
}

impl Entry {
    /// An object with the card that its writer made, if there was one.
    pub fn new(object: Arc<Object>, card: Option<Card>) -> Entry {
        Entry { object, card: Arc::new(card.map_or_else(OnceLock::new, OnceLock::from)) }
    }

    /// The object as a tree. The registry only holds what it has itself encoded, so this does not fail.
    pub fn value(&self) -> Value {
        self.object.value().unwrap_or_default()
    }

    /// Its card.
    pub fn card(&self) -> &Card {
        self.card.get_or_init(|| Card::of(self.object.key.kind, &self.value()))
    }

    /// The value of one of the kind's selectable fields; empty for any other.
    pub fn field(&self, field: &str) -> &str {
        let key = &self.object.key;
        match field {
            "metadata.name" => &key.name,
            "metadata.namespace" => &key.namespace,
            _ => {
                let position = key.kind.selectable.iter().position(|s| s.field == field);
                position.and_then(|at| self.card().fields.get(at)).map_or("", String::as_str)
            }
        }
    }
}

/// What every encoded object of a kind starts with. Items of a list leave it out, as upstream does.
pub fn prefix(kind: KindRef) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version())
}

/// An object's bytes as an item of a list: without `kind` and `apiVersion`.
pub fn without_kind(object: &Object) -> &[u8] {
    object.json.get(prefix(object.key.kind).len()..).unwrap_or_default()
}

/// The fields of `metadata` in upstream's order. What stands before `resourceVersion` holds no nested map, so the
/// first `"resourceVersion":"` in the bytes of an object is always its own.
const BEFORE: [&str; 4] = ["name", "generateName", "namespace", "uid"];
const BEHIND: [&str; 9] = [
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const REVISION: &str = "\"resourceVersion\":\"";

/// Encodes an object, with a gap for its revision.
pub fn encode(kind: KindRef, object: &Value) -> Encoded {
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    let meta = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut head = prefix(kind).into_bytes();
    head.extend_from_slice(b"\"metadata\":{");
    for name in BEFORE {
        if let Some(value) = meta.get(name) {
            field(&mut head, name, value);
            head.push(b',');
        }
    }
    head.extend_from_slice(REVISION.as_bytes());
    let mut tail = Vec::with_capacity(2048);
    tail.push(b'"');
    for name in BEHIND {
        if let Some(value) = meta.get(name) {
            tail.push(b',');
            field(&mut tail, name, value);
        }
    }
    tail.push(b'}');
    for (name, value) in object {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            tail.push(b',');
            field(&mut tail, name, value);
        }
    }
    tail.push(b'}');
    Encoded { head, tail }
}

/// Encodes an object that is not stored, such as a dry run's, with the revision it has or without one.
pub fn encode_whole(kind: KindRef, object: &Value) -> Vec<u8> {
    let Encoded { mut head, tail } = encode(kind, object);
    match object["metadata"]["resourceVersion"].as_str() {
        Some(revision) if revision.bytes().all(|b| b.is_ascii_digit()) => {
            head.extend_from_slice(revision.as_bytes());
            head.extend_from_slice(&tail);
        }
        _ => {
            head.truncate(head.len() - REVISION.len());
            // The quote that would have closed the revision, and the comma behind it where nothing stands before.
            let mut rest = &tail[1..];
            if head.last() == Some(&b',') && rest.first() == Some(&b'}') {
                head.pop();
            } else if rest.first() == Some(&b',') {
                rest = &rest[1..];
            }
            head.extend_from_slice(rest);
        }
    }
    head
}

/// The same object with another revision in it.
pub fn renumbered(object: &Object, revision: Revision) -> Object {
    let json = &object.json;
    let found = find(json, REVISION.as_bytes()).map(|at| at + REVISION.len());
    let Some(start) = found else { return object.clone() };
    let end = start + json[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = revision.to_string();
    let mut bytes = Vec::with_capacity(json.len() + 2);
    bytes.extend_from_slice(&json[..start]);
    bytes.extend_from_slice(digits.as_bytes());
    bytes.extend_from_slice(&json[end..]);
    Object { key: object.key.clone(), revision, json: bytes.into() }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn field(out: &mut Vec<u8>, name: &str, value: &Value) {
    // A tree of JSON values always encodes, and a `Vec` takes everything.
    let _ = serde_json::to_writer(&mut *out, name);
    out.push(b':');
    let _ = serde_json::to_writer(&mut *out, value);
}

/// The place of an object on its kind's shelf: upstream sorts by this text, not by namespace and then name.
pub fn place(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::kinds;
    use serde_json::json;

    #[test]
    fn the_revision_stands_in_its_gap_whatever_the_object_says() {
        let cases = [
            json!({"metadata": {}}),
            json!({"metadata": {"name": "a\"resourceVersion\":\"7"}, "data": {"resourceVersion": "9"}}),
            json!({"data": {"a": "b"}, "metadata": {"labels": {"resourceVersion": "1"}, "name": "x", "uid": "u"}}),
        ];
        for object in cases {
            let bytes = encode(&kinds::CONFIG_MAP, &object).at(Revision(12));
            let key = Key::new(&kinds::CONFIG_MAP, "", "x");
            let at_12 = Object { key, revision: Revision(12), json: bytes };
            assert_eq!(at_12.value().unwrap()["metadata"]["resourceVersion"], "12", "{object}");
            let at_345 = renumbered(&at_12, Revision(345)).value().unwrap();
            assert_eq!(at_345["metadata"]["resourceVersion"], "345", "{object}");
            assert_eq!(at_345["metadata"]["name"], object["metadata"]["name"]);
        }
    }

    #[test]
    fn without_a_revision_it_is_still_json() {
        let cases = [
            json!({"metadata": {}}),
            json!({"metadata": {"name": "x"}}),
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"k": "v"}}),
            json!({"metadata": {"name": "x", "resourceVersion": "4", "labels": {"a": "b"}}}),
        ];
        for object in cases {
            let bytes = encode_whole(&kinds::CONFIG_MAP, &object);
            let back: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(back["metadata"], object["metadata"]);
        }
    }
}
