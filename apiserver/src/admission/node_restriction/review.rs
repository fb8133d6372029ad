//! A write under review, and how it is refused.

use coracle_api::Key;
use serde_json::Value;

/// A write that is about to happen, with everything that is known of it by then.
pub struct Review<'a> {
    /// Which node writes.
    pub node: &'a str,
    /// `create`, `update` (a patch, too) or `delete`.
    pub verb: &'a str,
    /// Of what; of the parent for a subresource.
    pub key: &'a Key,
    /// Such as `status`.
    pub sub: &'a str,
    /// The object as it will be; null for a delete.
    pub new: &'a Value,
    /// The object as it is; null where there is none.
    pub old: &'a Value,
    /// Finds another object.
    pub find: &'a dyn Fn(&Key) -> Option<Value>,
}

/// Why a write is refused.
pub enum Refusal {
    /// 403, with this text.
    Forbidden(String),
    /// 404: it depends on an object that does not exist.
    NotFound(Key),
}

/// A refusal with this text.
pub fn forbid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Forbidden(why.into()))
}

impl Review<'_> {
    /// An object that must exist.
    pub fn found(&self, key: Key) -> Result<Value, Refusal> {
        (self.find)(&key).ok_or(Refusal::NotFound(key))
    }
}

/// Whether two values are equal, where nothing, an empty list and an empty map are the same.
pub fn same_or_both_empty(a: &Value, b: &Value) -> bool {
    a == b || (is_empty(a) && is_empty(b))
}

/// Whether there is nothing in a value.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        other => other.is_null(),
    }
}
