//! The v2 document in protobuf. kubectl asks for it where it validates objects itself, as those of a `List`.
//!
//! Source: the message numbers of `gnostic`'s `OpenAPIv2.proto`. It holds types but no operations, which clients of
//! this form do not read.

use serde_json::{Map, Value};

use super::types::VERSION;

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn piece(mut self, number: u64, bytes: &[u8]) -> Message {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, number: u64, text: &str) -> Message {
        self.piece(number, text.as_bytes())
    }

    fn message(self, number: u64, inner: &Message) -> Message {
        self.piece(number, &inner.0)
    }
}

/// The document, with the definitions of the v2 document in JSON.
pub(super) fn document(definitions: &Map<String, Value>) -> Vec<u8> {
    let info = Message::default().text(1, "Kubernetes").text(2, VERSION);
    let named = named_schemas(definitions, 1);
    Message::default().text(1, "2.0").message(2, &info).message(8, &Message::default()).message(9, &named).0
}

/// `NamedSchema`s, repeated under one number.
fn named_schemas(schemas: &Map<String, Value>, number: u64) -> Message {
    schemas.iter().fold(Message::default(), |out, (name, value)| {
        out.message(number, &Message::default().text(1, name).message(2, &schema(value)))
    })
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    let Some(map) = value.as_object() else { return out };
    for (key, value) in map {
        out = match (key.as_str(), value) {
            ("$ref", Value::String(text)) => out.text(1, text),
            ("format", Value::String(text)) => out.text(2, text),
            ("description", Value::String(text)) => out.text(4, text),
            ("required", Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).fold(out, |out, name| out.text(19, name))
            }
            ("enum", Value::Array(values)) => {
                values.iter().fold(out, |out, value| out.message(20, &any(value)))
            }
            ("additionalProperties", value) => {
                out.message(21, &Message::default().message(1, &schema(value)))
            }
            ("type", Value::String(text)) => out.message(22, &Message::default().text(1, text)),
            ("items", value) => out.message(23, &Message::default().message(1, &schema(value))),
            ("properties", Value::Object(fields)) => out.message(25, &named_schemas(fields, 1)),
            (name, value) if name.starts_with("x-") => {
                out.message(31, &Message::default().text(1, name).message(2, &any(value)))
            }
            _ => out,
        };
    }
    out
}

/// Anything, as YAML.
fn any(value: &Value) -> Message {
    Message::default().text(2, &crate::document::yaml::write(value))
}
