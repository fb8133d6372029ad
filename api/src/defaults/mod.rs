//! The small steps that defaulting is made of: filling in what an object leaves open.
//!
//! Go cannot tell a plain field's zero value from an absent one, so for most fields both are filled in; a field
//! behind a pointer keeps a zero that was written. The two steps are [`fill_empty`] and [`fill_absent`].

use serde_json::{Map, Value};

use crate::field::is_zero;

/// Sets the field unless it holds something other than its zero value.
pub fn fill_empty(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).is_none_or(is_zero)
    {
        object.insert(field.into(), default.into());
    }
}

/// Sets the field unless it is there, zero or not.
pub fn fill_absent(object: &mut Value, field: &str, default: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).is_none_or(Value::is_null)
    {
        object.insert(field.into(), default.into());
    }
}

/// Changes the field, if it is there.
pub fn within(object: &mut Value, field: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(field).filter(|value| !value.is_null()) {
        change(value);
    }
}

/// Changes each item of the list `field`.
pub fn each(object: &mut Value, field: &str, mut change: impl FnMut(&mut Value)) {
    if let Some(items) = object.get_mut(field).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(&mut change);
    }
}

/// The map at `field`, made if it is not there; `None` if `object` is no map itself.
pub fn map_at<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    fill_absent(object, field, Map::new());
    object.get_mut(field)?.as_object_mut()
}
