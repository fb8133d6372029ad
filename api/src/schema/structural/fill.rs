//! Defaults of structural schemas.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go`.

use serde_json::Value;

use super::super::{Link, Schema, Shape};

/// Fills in what an object leaves open; a second time changes nothing.
pub fn fill_in(value: &mut Value, schema: &Schema) {
    match (&schema.shape, value) {
        (Shape::Struct(fields), Value::Object(map)) => {
            for field in &fields.fields {
                if let Some(default) = &field.default
                    && map.get(&*field.name).is_none_or(|value| lacks(value, &field.link))
                {
                    map.insert(field.name.clone().into_owned(), default.clone());
                }
                if let Some(value) = map.get_mut(&*field.name) {
                    fill_in(value, field.link.get());
                }
            }
        }
        (Shape::Map { values }, Value::Object(map)) => {
            map.values_mut().for_each(|value| replace_and_fill(value, values));
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|value| replace_and_fill(value, items));
        }
        _ => {}
    }
}

fn replace_and_fill(value: &mut Value, link: &Link) {
    let schema = link.get();
    if let Some(default) = schema.rules.as_ref().and_then(|rules| rules.default.as_ref())
        && lacks(value, link)
    {
        *value = default.clone();
    }
    fill_in(value, schema);
}

/// Whether a value is a `null` where that is none.
fn lacks(value: &Value, link: &Link) -> bool {
    value.is_null() && !link.get().rules.as_ref().is_some_and(|rules| rules.nullable)
}
