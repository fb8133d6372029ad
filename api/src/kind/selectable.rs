//! What field selectors may ask of the objects of a kind, and how its value is read from one.

use std::borrow::Cow;

use serde_json::Value;

use crate::handle::Text;
use crate::table::path::JsonPath;

/// A field that a field selector may name, and where its value is read from an object.
#[derive(Clone, Debug)]
pub struct Selectable {
    /// The name in the selector, such as `spec.nodeName`.
    pub field: Text,
    /// Where the value stands.
    pub read: Read,
    /// What an absent field reads as: the zero value of its type, as text.
    pub zero: &'static str,
}

impl Selectable {
    /// A field of text.
    pub const fn text(field: &'static str, read: &'static [&'static str]) -> Selectable {
        Selectable { field: Cow::Borrowed(field), read: Read::First(read), zero: "" }
    }

    /// A field that is `true` or `false`.
    pub const fn switch(field: &'static str, read: &'static [&'static str]) -> Selectable {
        Selectable { field: Cow::Borrowed(field), read: Read::First(read), zero: "false" }
    }

    /// The value of the field in an object, as a selector compares it.
    pub fn value(&self, object: &Value) -> String {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let found = match &self.read {
            Read::First(pointers) => {
                let texts = pointers.iter().filter_map(|pointer| object.pointer(pointer)).map(text);
                texts.into_iter().find(|text| !text.is_empty())
            }
            Read::Path(path) => path.find(object).map(text),
        };
        found.unwrap_or_else(|| self.zero.into())
    }
}

/// Where the value of a selectable field stands in an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// JSON pointers; the first place where something is that is not empty counts.
    First(&'static [&'static str]),
    /// As a definition says it.
    Path(JsonPath),
}

impl Read {
    /// The first place that is looked at.
    pub fn first(&self) -> Option<&'static str> {
        match self {
            Read::First(pointers) => pointers.first().copied(),
            Read::Path(_) => None,
        }
    }
}
