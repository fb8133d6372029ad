//! Whether an object is as its structural schema demands, in upstream's texts.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/validate` and `ValidateCustomResource` in
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/validation`.

use std::collections::HashSet;

use serde_json::Value;

use super::super::{ListKind, Schema, Shape, Text};
use super::rules::{Bounds, Rules};
use crate::field::{Errors, Fault, Field};

/// Notes everything that is wrong with a whole object but for its `metadata`, which has rules of its own.
pub fn validate(object: &Value, schema: &Schema, errors: &mut Errors) {
    let (Shape::Struct(fields), Some(rules)) = (&schema.shape, &schema.rules) else { return };
    for name in rules.required.iter().filter(|name| object.get(name.as_str()).is_none()) {
        errors.required(Field::top(object, name).path(), "");
    }
    for field in fields.fields.iter().filter(|field| field.name != "metadata") {
        let at = Field::top(object, &field.name);
        if object.get(&*field.name).is_some() {
            check(&at, field.link.get(), errors);
        }
    }
}

fn check(at: &Field, schema: &Schema, errors: &mut Errors) {
    let Some(rules) = &schema.rules else { return };
    if errors.is_full() || (at.value.is_null() && rules.nullable) || rules.anything {
        return;
    }
    if !has_type(at.value, &schema.shape, rules) {
        let wanted = if rules.int_or_string { "integer,string" } else { schema.go.as_str() };
        let found = type_name(at.value);
        let text = format!("{} in body must be of type {wanted}: {found:?}", at.path());
        return errors.other(at.path(), Fault::TypeInvalid, format!("Invalid value: {found:?}: {text}"));
    }
    let refuse = |errors: &mut Errors, detail: &str| {
        errors.wrong(at, &format!("{} in body {detail}", at.path()));
    };
    match at.value {
        Value::Number(number) => {
            let mut refuse = |detail: &str| refuse(errors, detail);
            number.as_f64().into_iter().for_each(|number| in_bounds(number, &rules.bounds, &mut refuse));
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(least) = rules.length.least.filter(|least| length < *least) {
                refuse(errors, &format!("should be at least {least} chars long"));
            }
            if let Some((_, written)) = rules.pattern.as_ref().filter(|(regex, _)| !regex.is_match(text)) {
                refuse(errors, &format!("should match '{written}'"));
            }
            if let Some(most) = rules.length.most.filter(|most| length > *most) {
                errors.too_long(at.path(), usize::try_from(most).unwrap_or(usize::MAX));
            }
        }
        Value::Array(list) => {
            let count = list.len() as u64;
            if let Some(least) = rules.items.least.filter(|least| count < *least) {
                refuse(errors, &format!("should have at least {least} items"));
            }
            if rules.unique && has_duplicates(list) {
                refuse(errors, "shouldn't contain duplicates");
            }
            if let Some(most) = rules.items.most.filter(|most| count > *most) {
                errors.too_many(at.path(), list.len(), usize::try_from(most).unwrap_or(usize::MAX));
            }
        }
        Value::Object(map) => {
            let count = map.len() as u64;
            if let Some(least) = rules.properties.least.filter(|least| count < *least) {
                refuse(errors, &format!("should have at least {least} properties"));
            }
            if let Some(most) = rules.properties.most.filter(|most| count > *most) {
                errors.too_many(at.path(), map.len(), usize::try_from(most).unwrap_or(usize::MAX));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if !rules.choices.is_empty() && !rules.choices.contains(at.value) {
        let names: Vec<String> = rules.choices.iter().map(Value::to_string).collect();
        let text = format!("Unsupported value: {}: supported values: {}", at.value, names.join(", "));
        errors.other(at.path(), Fault::NotSupported, text);
    }
    children(at, schema, rules, errors);
}

fn children(at: &Field, schema: &Schema, rules: &Rules, errors: &mut Errors) {
    match (&schema.shape, at.value) {
        (Shape::Struct(fields), Value::Object(map)) => {
            for name in rules.required.iter().filter(|name| !map.contains_key(name.as_str())) {
                errors.required(at.get(name).path(), "");
            }
            for name in ["apiVersion", "kind"].into_iter().filter(|_| rules.embedded) {
                if at.str(name).is_empty() {
                    errors.required(at.get(name).path(), "must not be empty");
                }
            }
            for field in fields.fields.iter().filter(|field| map.contains_key(&*field.name)) {
                check(&at.get(&field.name), field.link.get(), errors);
            }
        }
        (Shape::Map { values }, Value::Object(_)) => {
            at.entries().iter().for_each(|(_, entry)| check(entry, values.get(), errors));
        }
        (Shape::List { items, kind }, Value::Array(_)) => {
            at.items().for_each(|item| check(&item, items.get(), errors));
            distinct(at, kind, errors);
        }
        _ => {}
    }
}

/// The items of a set, and the keys of a list that is a map, are there once.
fn distinct(at: &Field, kind: &ListKind, errors: &mut Errors) {
    let key = |item: &Value| match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(item.clone()),
        ListKind::Map(keys) => {
            Some(keys.iter().map(|key| (key.clone(), item.get(key).cloned().unwrap_or_default())).collect())
        }
    };
    let mut seen = HashSet::new();
    for item in at.items() {
        if let Some(key) = key(item.value).filter(|key| !seen.insert(key.to_string())) {
            errors.duplicate(item.path(), key);
        }
    }
}

fn in_bounds(number: f64, bounds: &Bounds, refuse: &mut impl FnMut(&str)) {
    let Bounds { minimum, above, maximum, below, multiple_of } = bounds;
    match minimum {
        Some(least) if *above && number <= *least => refuse(&format!("should be greater than {least}")),
        Some(least) if number < *least => refuse(&format!("should be greater than or equal to {least}")),
        _ => {}
    }
    match maximum {
        Some(most) if *below && number >= *most => refuse(&format!("should be less than {most}")),
        Some(most) if number > *most => refuse(&format!("should be less than or equal to {most}")),
        _ => {}
    }
    if let Some(factor) = multiple_of.filter(|factor| *factor > 0.0) {
        let times = number / factor;
        if (times - times.round()).abs() > 1e-9 {
            refuse(&format!("should be a multiple of {factor}"));
        }
    }
}

fn has_duplicates(list: &[Value]) -> bool {
    let mut seen = HashSet::new();
    !list.iter().all(|item| seen.insert(item.to_string()))
}

fn has_type(value: &Value, shape: &Shape, rules: &Rules) -> bool {
    if rules.int_or_string {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match shape {
        Shape::Boolean => value.is_boolean(),
        // `1.0` is a whole number to upstream, too.
        Shape::Integer { .. } => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        Shape::Number => value.is_number(),
        Shape::Text(Text::Plain) => value.is_string(),
        Shape::List { .. } => value.is_array(),
        Shape::Map { .. } | Shape::Struct(_) => value.is_object(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
