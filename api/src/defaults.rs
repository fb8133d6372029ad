//! Defaulting: filling in what an object leaves open. Constants come from `data/defaults.txt`, by type; what depends on other
//! fields is a function made of the steps here.
//!
//! Go cannot tell a plain field's zero value from an absent one, so for most fields both are filled in; a field behind a
//! pointer keeps a zero that was written. The two steps are [`fill_empty`] and [`fill_absent`].

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::field::is_zero;
use crate::schema::{Schema, Shape, Zero};

/// By type: fields, and what they become.
static DEFAULTS: LazyLock<HashMap<&'static str, Vec<(&'static str, Value)>>> = LazyLock::new(|| {
    let lines = include_str!("../data/defaults.txt").lines().filter(|line| !line.starts_with('#'));
    let default = |word: &'static str| {
        let (field, value) = word.split_once('=')?;
        Some((field, serde_json::from_str(value).ok()?))
    };
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, words)| (name, words.split(' ').filter_map(default).collect()))
        .collect()
});

/// Fills in the constants of a type and of all types below it.
pub fn constants(value: &mut Value, schema: &Schema) {
    match (&schema.shape, value) {
        (Shape::Struct(fields), value @ Value::Object(_)) => {
            for (name, default) in DEFAULTS.get(&*schema.name).into_iter().flatten() {
                let is_pointer = fields.field(name).is_some_and(|field| field.zero == Zero::Kept);
                let fill = if is_pointer { fill_absent::<Value> } else { fill_empty };
                fill(value, name, default.clone());
            }
            for (name, child) in value.as_object_mut().into_iter().flatten() {
                if let Some(field) = fields.field(name) {
                    constants(child, field.link.get());
                }
            }
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|item| constants(item, items.get()));
        }
        _ => {}
    }
}

/// Sets the field unless it holds something other than its zero value.
pub fn fill_empty<V: Into<Value>>(object: &mut Value, field: &str, default: V) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).is_none_or(is_zero)
    {
        object.insert(field.into(), default.into());
    }
}

/// Sets the field unless it is there, zero or not.
pub fn fill_absent<V: Into<Value>>(object: &mut Value, field: &str, default: V) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).is_none_or(Value::is_null)
    {
        object.insert(field.into(), default.into());
    }
}

/// Changes every value at `path`, whose steps have dots between them. A list on the way stands for each of its items; a
/// field that is absent or null is skipped.
pub fn each(object: &mut Value, path: &str, change: &mut dyn FnMut(&mut Value)) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut pass = |value: &mut Value| match rest {
        "" => change(value),
        rest => each(value, rest, change),
    };
    match object.get_mut(name) {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) => items.iter_mut().for_each(pass),
        Some(value) => pass(value),
    }
}

/// The map at `field`, made if it is not there; `None` if `object` is no map itself.
pub fn map_at<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    fill_absent(object, field, Map::new());
    object.get_mut(field)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_names_a_type_and_its_fields() {
        let lines = include_str!("../data/defaults.txt").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (name, words) = line.split_once(' ').expect("a type and its defaults");
            let schema = Schema::of(name).unwrap_or_else(|| panic!("{name} is no type"));
            let defaults = &DEFAULTS[name];
            assert_eq!(defaults.len(), words.split(' ').count(), "{name}: every default is JSON");
            assert!(
                defaults.iter().all(|(field, _)| schema.child(field).is_some()),
                "{name} has all its fields"
            );
        }
    }
}
