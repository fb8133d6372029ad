//! Values seen through their schema: which fields they set, how two of them differ, what one becomes merged with another.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/typed` for the rules and the texts.

use serde_json::{Map, Value};

use super::set::{Element, Literal, Set};
use crate::patch::printed;
use crate::schema::{ANYTHING, Field, ListKind, Schema, Shape};

/// A shape in its place: a field may be taken as one value although its type is not.
#[derive(Clone, Copy)]
pub(super) struct Typed<'s> {
    schema: &'s Schema,
    atomic: Option<bool>,
}

/// What merging does with a value.
enum Rule<'s> {
    /// It is one value.
    Leaf,
    /// It is merged field by field.
    Struct,
    /// It is merged key by key.
    Map,
    /// It is merged item by item.
    List(&'s Schema, &'s ListKind),
}

impl<'s> Typed<'s> {
    pub(super) fn root(schema: &'s Schema) -> Typed<'s> {
        Typed { schema, atomic: None }
    }

    fn of(schema: &'s Schema) -> Typed<'s> {
        Typed { schema, atomic: None }
    }

    fn rule(self) -> Rule<'s> {
        match &self.schema.shape {
            Shape::Struct(fields) if !self.atomic.unwrap_or(fields.atomic) => Rule::Struct,
            Shape::Map { .. } if self.atomic != Some(true) => Rule::Map,
            Shape::List { items, kind } if *kind != ListKind::Atomic => Rule::List(items.get(), kind),
            _ => Rule::Leaf,
        }
    }

    fn field(field: &'s Field) -> Typed<'s> {
        Typed { schema: field.link.get(), atomic: field.atomic }
    }

    /// The shape of an entry of a map or struct.
    fn entry(self, key: &str) -> Typed<'s> {
        match &self.schema.shape {
            Shape::Struct(fields) => fields.field(key).map_or(Typed::of(&ANYTHING), Typed::field),
            Shape::Map { values } => Typed::of(values.get()),
            _ => Typed::of(&ANYTHING),
        }
    }
}

/// What tells an item of a list from the others.
fn element(items: &Schema, kind: &ListKind, item: &Value) -> Result<Element, String> {
    match kind {
        ListKind::Map(keys) => {
            let fields = items.fields();
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let value = item.get(*key).filter(|value| !value.is_null()).cloned();
                let value = value.or_else(|| fields?.field(key)?.default.clone());
                if let Some(value) = value {
                    found.push(((*key).to_owned(), Literal(value)));
                }
            }
            if found.is_empty() {
                let quoted: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    quoted.join(" ")
                ));
            }
            found.sort();
            Ok(Element::Key(found))
        }
        _ => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Element::Item(Literal(scalar.clone()))),
        },
    }
}

/// What does not fit the schema, in upstream's words.
pub(super) fn check<'s>(value: &Value, typed: Typed<'s>, path: &str, faults: &mut Vec<String>) {
    let mut below = |map: &Map<String, Value>, child: &dyn Fn(&str) -> Option<Typed<'s>>| {
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort();
        for key in keys {
            let here = format!("{path}.{key}");
            match child(key) {
                Some(child) => check(&map[key], child, &here, faults),
                None => faults.push(format!("{here}: field not declared in schema")),
            }
        }
    };
    let expected = match (&typed.schema.shape, value) {
        (_, Value::Null)
        | (Shape::Any, _)
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Text(_), Value::String(_)) => return,
        (Shape::Integer { .. } | Shape::Number, Value::Number(_)) => return,
        (Shape::Quantity | Shape::IntOrString, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            return;
        }
        (Shape::List { items, kind }, Value::Array(list)) => {
            return check_list(list, items.get(), kind, path, faults);
        }
        (Shape::Map { values }, Value::Object(map)) => return below(map, &|_| Some(Typed::of(values.get()))),
        (Shape::Struct(fields), Value::Object(map)) => {
            let open = fields.open.then_some(Typed::of(&ANYTHING));
            return below(map, &|key| fields.field(key).map(Typed::field).or(open));
        }
        (Shape::Integer { .. } | Shape::Number, other) => {
            format!("numeric (int or float), got {}", go_type(other))
        }
        (Shape::Text(_), other) => {
            format!("string, got &value.valueUnstructured{{Value:{}}}", go_literal(other))
        }
        (Shape::Boolean, other) => format!("boolean, got {}", shown(other)),
        (Shape::Quantity | Shape::IntOrString, other) => format!("any scalar, got {}", shown(other)),
        (Shape::List { .. }, other) => format!("list, got {}", shown(other)),
        (Shape::Struct(_) | Shape::Map { .. }, other) => format!("map, got {}", shown(other)),
    };
    let colon = if path.is_empty() { "" } else { ": " };
    faults.push(format!("{path}{colon}expected {expected}"));
}

fn check_list(list: &[Value], items: &Schema, kind: &ListKind, path: &str, faults: &mut Vec<String>) {
    let mut seen: Vec<Element> = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let element = match kind {
            ListKind::Atomic => Element::Index(index),
            _ => match element(items, kind, item) {
                Ok(element) => element,
                Err(error) => {
                    faults.push(format!("{path}: element {index}: {error}"));
                    return;
                }
            },
        };
        if seen.contains(&element) {
            faults.push(format!("{path}: duplicate entries for key {element}"));
        }
        check(item, Typed::of(items), &format!("{path}{element}"), faults);
        seen.push(element);
    }
}

/// `%v` of a pointer to a value.
fn shown(value: &Value) -> String {
    format!("&{{{}}}", printed(value))
}

/// `%#v` of a value.
fn go_literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(k, v)| format!("{k:?}:{}", go_literal(v))).collect();
            entries.sort();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Null => "interface {}(nil)".into(),
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Null => "<nil>",
        Value::Number(_) => "int64",
    }
}

/// The fields that a value sets, as an applier owns them.
pub(super) fn fields_of(value: &Value, typed: Typed<'_>, path: &mut Vec<Element>, set: &mut Set) {
    match (typed.rule(), value) {
        (Rule::Struct | Rule::Map, Value::Object(map)) => {
            let declared = matches!(typed.rule(), Rule::Struct);
            for (key, child) in map {
                path.push(Element::Field(key.clone()));
                fields_of(child, typed.entry(key), path, set);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                if empty || !declared {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Rule::List(items, kind), Value::Array(list)) => {
            for item in list {
                let Ok(element) = element(items, kind, item) else { continue };
                path.push(element);
                fields_of(item, Typed::of(items), path, set);
                set.insert(path);
                path.pop();
            }
        }
        (Rule::Struct | Rule::Map | Rule::List(..), Value::Null) => {}
        _ => set.insert(path),
    }
}

/// How two values differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Set,
    pub(super) removed: Set,
    pub(super) modified: Set,
}

/// Compares two values of one type; either may be absent.
pub(super) fn compare(old: Option<&Value>, new: Option<&Value>, typed: Typed<'_>) -> Difference {
    let mut difference = Difference::default();
    walk(old, new, typed, &mut Vec::new(), &mut difference);
    difference
}

fn walk(
    old: Option<&Value>,
    new: Option<&Value>,
    typed: Typed<'_>,
    path: &mut Vec<Element>,
    out: &mut Difference,
) {
    if old.is_none() && new.is_none() {
        return;
    }
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    let rule = typed.rule();
    if matches!(rule, Rule::Leaf) || (empty(old) && empty(new)) {
        match (old, new) {
            (None, _) => out.added.insert(path),
            (_, None) => out.removed.insert(path),
            (Some(old), Some(new)) if !same(old, new) => out.modified.insert(path),
            _ => {}
        }
        return;
    }
    match rule {
        Rule::List(items, kind) => walk_list(old, new, items, kind, path, out),
        _ => {
            let (before, after) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let keys = before.into_iter().flat_map(Map::keys);
            let fresh = after
                .into_iter()
                .flat_map(Map::keys)
                .filter(|key| before.is_none_or(|map| !map.contains_key(*key)));
            for key in keys.chain(fresh) {
                path.push(Element::Field(key.clone()));
                walk(
                    before.and_then(|m| m.get(key)),
                    after.and_then(|m| m.get(key)),
                    typed.entry(key),
                    path,
                    out,
                );
                path.pop();
            }
        }
    }
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        _ => {}
    }
}

fn walk_list(
    old: Option<&Value>,
    new: Option<&Value>,
    items: &Schema,
    kind: &ListKind,
    path: &mut Vec<Element>,
    out: &mut Difference,
) {
    let index = |value: Option<&'_ Value>| -> Vec<(Element, Value)> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some((element(items, kind, item).ok()?, item.clone()))).collect()
    };
    let (before, after) = (index(old), index(new));
    let mut done: Vec<&Element> = Vec::new();
    for (element, _) in before.iter().chain(&after) {
        if done.contains(&element) {
            continue;
        }
        done.push(element);
        let pick = |list: &[(Element, Value)]| -> Vec<Value> {
            list.iter().filter(|(other, _)| other == element).map(|(_, item)| item.clone()).collect()
        };
        let (mine, theirs) = (pick(&before), pick(&after));
        path.push(element.clone());
        if mine.len() > 1 || theirs.len() > 1 {
            // Repeated items cannot be told apart: they are one value together.
            match (mine.is_empty(), theirs.is_empty()) {
                (true, _) => out.added.insert(path),
                (_, true) => out.removed.insert(path),
                _ if mine != theirs => out.modified.insert(path),
                _ => {}
            }
        } else {
            walk(mine.first(), theirs.first(), Typed::of(items), path, out);
        }
        path.pop();
    }
}

/// Equality in which `1` and `1.0` are the same, and the order of keys does not matter.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (a, b) => a == b,
    }
}

/// What `live` becomes with `config` laid over it.
pub(super) fn merge(live: Option<&Value>, config: Option<&Value>, typed: Typed<'_>) -> Option<Value> {
    match (typed.rule(), live, config) {
        (Rule::Struct | Rule::Map, Some(Value::Object(old)), Some(Value::Object(new)))
            if !(old.is_empty() && new.is_empty()) =>
        {
            let mut out = Map::with_capacity(old.len().max(new.len()));
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                if let Some(value) = merge(old.get(key), new.get(key), typed.entry(key)) {
                    out.insert(key.clone(), value);
                }
            }
            Some(Value::Object(out))
        }
        (Rule::Struct | Rule::Map, Some(old @ Value::Object(map)), Some(Value::Null)) if !map.is_empty() => {
            Some(old.clone())
        }
        (Rule::List(..), Some(old @ Value::Array(list)), Some(Value::Null)) if !list.is_empty() => {
            Some(old.clone())
        }
        (Rule::List(items, kind), Some(Value::Array(old)), Some(Value::Array(new)))
            if !(old.is_empty() && new.is_empty()) =>
        {
            Some(Value::Array(merge_list(old, new, items, kind)))
        }
        (_, _, Some(new)) => Some(new.clone()),
        (_, old, None) => old.cloned(),
    }
}

/// Merges lists item by item: shared items come in the order of the configuration, items that only the server has
/// stay behind the neighbours that they had.
fn merge_list(old: &[Value], new: &[Value], items: &Schema, kind: &ListKind) -> Vec<Value> {
    let index = |list: &[Value]| -> Vec<Element> {
        list.iter().map(|item| element(items, kind, item).unwrap_or(Element::Index(0))).collect()
    };
    let (left, right) = (index(old), index(new));
    let at = |list: &[Element], element: &Element| list.iter().position(|other| other == element);
    let join = |element: &Element| {
        let live = at(&left, element).map(|i| &old[i]);
        let config = at(&right, element).map(|i| &new[i]);
        merge(live, config, Typed::of(items))
    };
    let mut shared = right.iter().filter(|element| left.contains(element)).peekable();
    let mut merged: Vec<&Element> = Vec::new();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                merged.push(&left[l]);
                out.extend(join(&left[l]));
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            if right.contains(&left[l]) && shared.peek().is_some_and(|next| **next != left[l]) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !right.contains(&left[l]) {
                out.push(old[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(&&left[l]) {
                l += 1;
            }
        }
        if r < right.len() {
            merged.push(&right[r]);
            out.extend(join(&right[r]));
            if shared.peek().is_some_and(|next| **next == right[r]) {
                shared.next();
            }
            r += 1;
        }
    }
    out
}

/// The value without the fields of a set. What becomes empty becomes null.
pub(super) fn remove(value: &Value, typed: Typed<'_>, gone: &Set) -> Value {
    match (typed.rule(), value) {
        (Rule::Struct | Rule::Map, Value::Object(map)) => {
            let mut out = Map::with_capacity(map.len());
            for (key, child) in map {
                let element = Element::Field(key.clone());
                if gone.has(&element) {
                    continue;
                }
                let child = gone
                    .below(&element)
                    .map_or_else(|| child.clone(), |below| remove(child, typed.entry(key), below));
                out.insert(key.clone(), child);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        (Rule::List(items, kind), Value::Array(list)) => {
            let mut out = Vec::with_capacity(list.len());
            for item in list {
                let Ok(element) = element(items, kind, item) else {
                    out.push(item.clone());
                    continue;
                };
                if gone.has(&element) {
                    continue;
                }
                out.push(
                    gone.below(&element)
                        .map_or_else(|| item.clone(), |below| remove(item, Typed::of(items), below)),
                );
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        _ => value.clone(),
    }
}
