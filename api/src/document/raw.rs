//! The common form of JSON, YAML, protobuf and patched objects.

use std::borrow::Cow;

use serde_json::Value;

/// One value of a document, as written. Keeps what a [`Value`] loses: repeated keys, and the spelling of numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as spelled (`80.0` and `80` differ).
    Number(Cow<'a, str>),
    /// A string without its quotes and escapes.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Raw<'a>>),
    /// A map, in the order of the document, repeated keys included.
    Map(Vec<(Cow<'a, str>, Raw<'a>)>),
}

impl<'a> Raw<'a> {
    /// What Go's decoder calls this kind of value in its errors.
    pub fn go_name(&self) -> &'static str {
        match self {
            Raw::Null => "null",
            Raw::Bool(_) => "bool",
            Raw::Number(_) => "number",
            Raw::Text(_) => "string",
            Raw::List(_) => "array",
            Raw::Map(_) => "object",
        }
    }

    /// What Go's decoder says where this kind of value cannot be what `target` asks for, such as `value of type []string`.
    pub fn misfit(&self, target: &str) -> String {
        format!("json: cannot unmarshal {} into Go {target}", self.go_name())
    }

    /// The last entry `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Raw<'a>> {
        match self {
            Raw::Map(entries) => entries.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The same, kept beyond the text that it was read from.
    pub fn into_owned(self) -> Raw<'static> {
        match self {
            Raw::Null => Raw::Null,
            Raw::Bool(b) => Raw::Bool(b),
            Raw::Number(text) => Raw::Number(Cow::Owned(text.into_owned())),
            Raw::Text(text) => Raw::Text(Cow::Owned(text.into_owned())),
            Raw::List(items) => Raw::List(items.into_iter().map(Raw::into_owned).collect()),
            Raw::Map(entries) => Raw::Map(
                entries.into_iter().map(|(k, v)| (Cow::Owned(k.into_owned()), v.into_owned())).collect(),
            ),
        }
    }

    /// The tree of a patched object, its keys sorted: upstream writes such objects as Go maps before it decodes them.
    pub fn sorted(value: &'a Value) -> Raw<'a> {
        match value {
            Value::Null => Raw::Null,
            Value::Bool(b) => Raw::Bool(*b),
            Value::Number(n) => Raw::Number(Cow::Owned(n.to_string())),
            Value::String(s) => Raw::Text(Cow::Borrowed(s)),
            Value::Array(items) => Raw::List(items.iter().map(Raw::sorted).collect()),
            Value::Object(map) => {
                let mut entries: Vec<_> =
                    map.iter().map(|(k, v)| (Cow::Borrowed(k.as_str()), Raw::sorted(v))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Raw::Map(entries)
            }
        }
    }

    /// The value as plain JSON, without a schema: of repeated keys the last wins, keys are sorted, as in a Go map.
    pub fn into_value(self) -> Value {
        match self {
            Raw::Null => Value::Null,
            Raw::Bool(b) => Value::Bool(b),
            Raw::Number(text) => number(&text),
            Raw::Text(text) => Value::String(text.into_owned()),
            Raw::List(items) => Value::Array(items.into_iter().map(Raw::into_value).collect()),
            Raw::Map(mut entries) => {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(entries.into_iter().map(|(k, v)| (k.into_owned(), v.into_value())).collect())
            }
        }
    }
}

/// A number as Go keeps it in an untyped tree: an integer where it is spelled as one, else a float.
pub fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return Value::from(whole);
    }
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
}

/// What patches and configurations must be, in the words of [`Raw::misfit`].
pub const UNTYPED_MAP: &str = "value of type map[string]interface {}";
