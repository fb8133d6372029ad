//! Who owns which field: a door to the rules of server-side apply.

use jiff::Timestamp;
use serde_json::Value;

use super::operation::Context;

/// Notes in `new` that the writer now owns what it changed.
pub fn track(_context: &Context, _old: Option<&Value>, _new: &mut Value, _sub: &str, _now: Timestamp) {}
