//! Values seen through their schema: which fields they set, how two of them differ, what one becomes merged with another.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/typed` for the rules and the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::set::{Element, Literal, Set};
use crate::field::is_zero;
use crate::patch::{printed, type_name};
use crate::schema::{ANYTHING, ListKind, Schema, Shape, StructField};

/// A shape and how it is used: a field may be taken as one value although its type is not.
#[derive(Clone, Copy)]
pub(super) struct Typed<'s> {
    schema: &'s Schema,
    atomic: Option<bool>,
}

/// What merging does with a value.
enum Merging<'s> {
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

    fn merging(self) -> Merging<'s> {
        match &self.schema.shape {
            Shape::Struct(fields) if !self.atomic.unwrap_or(fields.atomic) => Merging::Struct,
            Shape::Map { .. } if self.atomic != Some(true) => Merging::Map,
            Shape::List { items, kind } if *kind != ListKind::Atomic => Merging::List(items.get(), kind),
            _ => Merging::Leaf,
        }
    }

    fn field(field: &'s StructField) -> Typed<'s> {
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
                let value = item.get(key).filter(|value| !value.is_null()).cloned();
                let value = value.or_else(|| fields?.field(key)?.default.clone());
                if let Some(value) = value {
                    found.push((key.clone(), Literal(value)));
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

/// The most faults of a configuration that are reported; upstream reports all, however often each repeats where it lies.
const MOST_FAULTS: usize = 100;

/// What does not fit the schema, in upstream's words.
pub(super) fn check(value: &Value, schema: &Schema) -> Vec<String> {
    let mut faults = Vec::new();
    check_value(value, Typed::root(schema), &Path::Root, &mut faults);
    faults
}

/// Where in a configuration a value stands: printed only for faults.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, &'a Element),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, element) => write!(f, "{parent}{element}"),
        }
    }
}

fn check_value(value: &Value, typed: Typed<'_>, path: &Path<'_>, faults: &mut Vec<String>) {
    if faults.len() >= MOST_FAULTS {
        return;
    }
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
        (Shape::Map { .. } | Shape::Struct(_), Value::Object(map)) => {
            return check_entries(map, typed, path, faults);
        }
        (Shape::Integer { .. } | Shape::Number, other) => {
            format!("numeric (int or float), got {}", type_name(other))
        }
        (Shape::Text(_), other) => {
            format!("string, got &value.valueUnstructured{{Value:{}}}", go_literal(other))
        }
        (Shape::Boolean, other) => format!("boolean, got {}", shown(other)),
        (Shape::Quantity | Shape::IntOrString, other) => format!("any scalar, got {}", shown(other)),
        (Shape::List { .. }, other) => format!("list, got {}", shown(other)),
        (Shape::Struct(_) | Shape::Map { .. }, other) => format!("map, got {}", shown(other)),
    };
    let colon = if matches!(path, Path::Root) { "" } else { ": " };
    faults.push(format!("{path}{colon}expected {expected}"));
}

fn check_entries(map: &Map<String, Value>, typed: Typed<'_>, path: &Path<'_>, faults: &mut Vec<String>) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (key, value) in entries {
        let here = Path::Field(path, key);
        let child = match &typed.schema.shape {
            Shape::Struct(fields) => {
                fields.field(key).map(Typed::field).or(fields.open.then_some(Typed::of(&ANYTHING)))
            }
            _ => Some(typed.entry(key)),
        };
        match child {
            Some(child) => check_value(value, child, &here, faults),
            None if faults.len() < MOST_FAULTS => {
                faults.push(format!("{here}: field not declared in schema"));
            }
            None => return,
        }
    }
}

fn check_list(list: &[Value], items: &Schema, kind: &ListKind, path: &Path<'_>, faults: &mut Vec<String>) {
    let mut seen: BTreeSet<Element> = BTreeSet::new();
    for (index, item) in list.iter().enumerate() {
        if faults.len() >= MOST_FAULTS {
            return;
        }
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
        check_value(item, Typed::of(items), &Path::Item(path, &element), faults);
        seen.insert(element);
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

/// What a value consists of, each part with what tells it from the others. Items that nothing tells apart are left out.
fn parts<'v, 's>(value: Option<&'v Value>, typed: Typed<'s>) -> Vec<(Element, Typed<'s>, &'v Value)> {
    let field = |(key, child): (&String, &'v Value)| (Element::Field(key.clone()), typed.entry(key), child);
    match (typed.merging(), value) {
        (Merging::Struct | Merging::Map, Some(Value::Object(map))) => map.iter().map(field).collect(),
        (Merging::List(items, kind), Some(Value::Array(list))) => {
            let part = |item| Some((element(items, kind, item).ok()?, Typed::of(items), item));
            list.iter().filter_map(part).collect()
        }
        _ => Vec::new(),
    }
}

/// The fields that a value sets, as an applier owns them.
pub(super) fn fields_of(value: &Value, typed: Typed<'_>) -> Set {
    own_fields(value, typed).1
}

/// Whether a value is owned itself, and what is owned below it. The set is built from the leaves upwards: inserting
/// each path from the root would compare the keys of all enclosing fields again for every field.
fn own_fields(value: &Value, typed: Typed<'_>) -> (bool, Set) {
    let rule = typed.merging();
    match (&rule, value) {
        (Merging::Struct | Merging::Map, Value::Object(_)) | (Merging::List(..), Value::Array(_)) => {
            let mut set = Set::default();
            for (element, of_child, child) in parts(Some(value), typed) {
                let (owned, below) = own_fields(child, of_child);
                let empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                set.put(element, owned || empty || !matches!(rule, Merging::Struct), below);
            }
            (false, set)
        }
        (Merging::Struct | Merging::Map | Merging::List(..), Value::Null) => (false, Set::default()),
        _ => (true, Set::default()),
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
    walk(old, new, typed).1
}

/// What became of one value as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Added,
    Removed,
    Modified,
    None,
}

/// What became of a value that is compared as a whole. Absent on both sides counts as added, as upstream has it.
fn as_a_whole(old: bool, new: bool, modified: bool) -> Comparison {
    match (old, new) {
        (false, _) => Comparison::Added,
        (_, false) => Comparison::Removed,
        _ if modified => Comparison::Modified,
        _ => Comparison::None,
    }
}

impl Difference {
    /// Adds what became of one element, and of all below it.
    fn put(&mut self, element: &Element, change: Comparison, below: Difference) {
        self.added.put(element.clone(), change == Comparison::Added, below.added);
        self.removed.put(element.clone(), change == Comparison::Removed, below.removed);
        self.modified.put(element.clone(), change == Comparison::Modified, below.modified);
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    value
        .is_none_or(|value| !value.is_boolean() && !value.is_number() && !value.is_string() && is_zero(value))
}

fn walk(old: Option<&Value>, new: Option<&Value>, typed: Typed<'_>) -> (Comparison, Difference) {
    let (was, is) = (old.is_some(), new.is_some());
    if !was && !is {
        return (Comparison::None, Difference::default());
    }
    if matches!(typed.merging(), Merging::Leaf) || (is_empty(old) && is_empty(new)) {
        let modified = old.zip(new).is_some_and(|(old, new)| !equal_by_value(old, new));
        return (as_a_whole(was, is, modified), Difference::default());
    }
    let mut pairs: BTreeMap<Element, (Typed<'_>, [Vec<&Value>; 2])> = BTreeMap::new();
    for (side, value) in [old, new].into_iter().enumerate() {
        for (element, of_child, child) in parts(value, typed) {
            pairs.entry(element).or_insert((of_child, Default::default())).1[side].push(child);
        }
    }
    let mut difference = Difference::default();
    for (element, (of_child, [before, after])) in pairs {
        let (change, below) = if before.len() > 1 || after.len() > 1 {
            // Repeated items cannot be told apart: they are one value together.
            (as_a_whole(!before.is_empty(), !after.is_empty(), before != after), Difference::default())
        } else {
            walk(before.first().copied(), after.first().copied(), of_child)
        };
        difference.put(&element, change, below);
    }
    (as_a_whole(was, is, false), difference)
}

/// Equality in which `1` and `1.0` are the same, and the order of keys does not matter.
pub(super) fn equal_by_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal_by_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal_by_value(value, other)))
        }
        (a, b) => a == b,
    }
}

/// What `live` becomes with `config` laid over it.
pub(super) fn merge(live: Option<&Value>, config: Option<&Value>, typed: Typed<'_>) -> Option<Value> {
    match (typed.merging(), live, config) {
        (Merging::Struct | Merging::Map, Some(Value::Object(old)), Some(Value::Object(new)))
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
        (Merging::Struct | Merging::Map | Merging::List(..), old, Some(Value::Null)) if !is_empty(old) => {
            old.cloned()
        }
        (Merging::List(items, kind), Some(Value::Array(old)), Some(Value::Array(new)))
            if !(old.is_empty() && new.is_empty()) =>
        {
            Some(Value::Array(merge_list(old, new, items, kind)))
        }
        (_, _, Some(new)) => Some(new.clone()),
        (_, old, None) => old.cloned(),
    }
}

/// Where each element stands in a list, the first of equals.
fn positions(list: &[Element]) -> BTreeMap<&Element, usize> {
    list.iter().enumerate().rev().map(|(at, element)| (element, at)).collect()
}

/// Merges lists item by item: shared items come in the order of the configuration, items that only the server has
/// stay after the neighbours that they had.
fn merge_list(old: &[Value], new: &[Value], items: &Schema, kind: &ListKind) -> Vec<Value> {
    let index = |list: &[Value]| -> Vec<Element> {
        list.iter().map(|item| element(items, kind, item).unwrap_or(Element::Index(0))).collect()
    };
    let (left, right) = (index(old), index(new));
    let (in_left, in_right) = (positions(&left), positions(&right));
    let join = |element: &Element| {
        let live = in_left.get(element).map(|i| &old[*i]);
        let config = in_right.get(element).map(|i| &new[*i]);
        merge(live, config, Typed::of(items))
    };
    let mut shared = right.iter().filter(|element| in_left.contains_key(element)).peekable();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(old.len().max(new.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                merged.insert(&left[l]);
                out.extend(join(&left[l]));
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            if in_right.contains_key(&left[l]) && shared.peek().is_some_and(|next| **next != left[l]) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !in_right.contains_key(&left[l]) {
                out.push(old[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(&left[l]) {
                l += 1;
            }
        }
        if r < right.len() {
            merged.insert(&right[r]);
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
    let kept = |element: &Element, child: &Value, of_child: Typed<'_>| match gone.below(element) {
        _ if gone.has(element) => None,
        Some(below) => Some(remove(child, of_child, below)),
        None => Some(child.clone()),
    };
    let rest = match (typed.merging(), value) {
        (Merging::Struct | Merging::Map, Value::Object(map)) => {
            let field = |(key, child): (&String, &Value)| {
                Some((key.clone(), kept(&Element::Field(key.clone()), child, typed.entry(key))?))
            };
            Value::Object(map.iter().filter_map(field).collect())
        }
        (Merging::List(items, kind), Value::Array(list)) => {
            let item = |item: &Value| match element(items, kind, item) {
                Ok(element) => kept(&element, item, Typed::of(items)),
                Err(_) => Some(item.clone()),
            };
            Value::Array(list.iter().filter_map(item).collect())
        }
        _ => return value.clone(),
    };
    if is_zero(&rest) { Value::Null } else { rest }
}
