//! The bytes of an object: how they are written, so that a revision can be put into them without decoding.

use bytes::Bytes;
use coracle_api::{Kind, Object, Revision};
use serde_json::{Map, Value};

/// An encoded object with a gap where its revision, which only the store knows, will stand.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Everything before the digits of the revision.
    pub head: Vec<u8>,
    /// Everything after them.
    pub tail: Vec<u8>,
}

/// The line of a watch's event, and within it, in the same memory, the object that it tells of.
#[derive(Clone, Debug)]
pub struct Framed {
    /// `{"type":"ADDED","object":{...}}` and a newline.
    pub line: Bytes,
    /// The object.
    pub json: Bytes,
}

impl Encoded {
    /// The object at a revision.
    pub fn at(&self, revision: Revision) -> Bytes {
        let digits = revision.to_string();
        [&self.head[..], digits.as_bytes(), &self.tail].concat().into()
    }

    /// The same as the event of a watch, so that all watches send the same bytes.
    pub fn framed(&self, event: &str, revision: Revision) -> Framed {
        let digits = revision.to_string();
        framed(event, &[&self.head, digits.as_bytes(), &self.tail])
    }

    /// Its length without the revision.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether nothing was encoded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts an object, given in parts, into the line of an event.
pub fn framed(event: &str, parts: &[&[u8]]) -> Framed {
    let before = [b"{\"type\":\"".as_slice(), event.as_bytes(), b"\",\"object\":"].concat();
    let after = b"}\n".as_slice();
    let line: Bytes = [&[&before[..]], parts, &[after]].concat().concat().into();
    let json = line.slice(before.len()..line.len() - after.len());
    Framed { line, json }
}

/// What every encoded object of a kind starts with. Items of a list leave it out, as upstream does.
pub fn prefix(kind: &Kind) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind(), kind.api_version())
}

/// An object's bytes as an item of a list: without `kind` and `apiVersion`.
pub fn without_kind(object: &Object) -> &[u8] {
    object.json.get(prefix(&object.key.kind).len()..).unwrap_or_default()
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
pub fn encode(kind: &Kind, object: &Value) -> Encoded {
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
pub fn encode_whole(kind: &Kind, object: &Value) -> Vec<u8> {
    let Encoded { mut head, tail } = encode(kind, object);
    match object["metadata"]["resourceVersion"].as_str() {
        Some(revision) if revision.bytes().all(|b| b.is_ascii_digit()) => {
            head.extend_from_slice(revision.as_bytes());
            head.extend_from_slice(&tail);
        }
        _ => {
            head.truncate(head.len() - REVISION.len());
            // The quote that would have closed the revision, and the comma after it where nothing stands before.
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

/// The same object with another revision in it, as the event of a watch.
pub fn renumbered(event: &str, object: &Object, revision: Revision) -> (Object, Bytes) {
    let json = &object.json;
    let start = find(json, REVISION.as_bytes()).map(|at| at + REVISION.len());
    let start = start.unwrap_or(json.len());
    let end = start + json[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let digits = if start < json.len() { revision.to_string() } else { String::new() };
    let Framed { line, json } = framed(event, &[&json[..start], digits.as_bytes(), &json[end..]]);
    (Object { key: object.key.clone(), revision, json }, line)
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

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_api::{Key, kinds};
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
            let (at_345, line) = renumbered("DELETED", &at_12, Revision(345));
            let line: Value = serde_json::from_slice(&line).unwrap();
            let at_345 = at_345.value().unwrap();
            assert_eq!((&line["type"], &line["object"]), (&"DELETED".into(), &at_345));
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
