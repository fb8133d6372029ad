//! Strategic merge patch: a merge patch whose lists are merged by the keys that the schema declares, with directives.
//!
//! Source: `k8s.io/apimachinery/pkg/util/strategicpatch/patch.go` for the directives, the order of merged lists and
//! the errors.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::go::{as_string, printed, type_name};
use super::refuse::unforeseen;
use crate::schema::{ANYTHING, PatchStrategy, Schema, Shape};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// The object as the patch leaves it; not yet decoded.
pub(super) fn apply(current: Value, patch: Value, schema: &Schema) -> Result<Value, Status> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    merge_map(current, patch, schema).map(Value::Object)
}

fn bad_order() -> Status {
    Status::bad_request("invalid patch format of setElementOrder list")
}

fn no_merge_key(map: &Value, key: &str) -> Status {
    unforeseen(format!("map: {} does not contain declared merge key: {key}", printed(map)))
}

fn bad_directive(directive: &Value, map: &Value) -> Status {
    unforeseen(format!("unknown patch type: {} in map: {}", as_string(directive), printed(map)))
}

/// The shape and strategy of a field; values of a map have no strategy.
fn lookup<'s>(schema: &'s Schema, key: &str) -> Result<(&'s Schema, PatchStrategy), Status> {
    match &schema.shape {
        Shape::Struct(fields) => match fields.field(key) {
            Some(field) => Ok((field.link.get(), field.patch)),
            None => {
                let name = schema.short_name();
                Err(unforeseen(format!(
                    "unable to find api field in struct {name} for the json field {key:?}"
                )))
            }
        },
        Shape::Map { values } => Ok((values.get(), PatchStrategy::default())),
        _ => Ok((&ANYTHING, PatchStrategy::default())),
    }
}

fn merge_map(mut original: Object, mut patch: Object, schema: &Schema) -> Result<Object, Status> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.swap_remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(bad_directive(directive, &Value::Object(patch.clone()))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(key) => (key.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            // The order of keys is lost anyway: the outcome is decoded as a Go map, sorted.
            original.swap_remove(&key);
            continue;
        }
        let merged = match (original.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let (child, strategy) = lookup(schema, &key)?;
                if strategy.replace {
                    Some(Value::Object(new))
                } else {
                    Some(Value::Object(merge_map(std::mem::take(old), new, child)?))
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let (child, strategy) = lookup(schema, &key)?;
                Some(Value::Array(if strategy.merge || deletes {
                    merge_list(std::mem::take(old), new, child, strategy, deletes)?
                } else {
                    new
                }))
            }
            (_, _) if deletes => continue,
            (_, value) => without_directives(without_nulls(value)),
        };
        match merged {
            Some(merged) => drop(original.insert(key, merged)),
            None => drop(original.swap_remove(&key)),
        }
    }
    Ok(original)
}

/// Drops nulls from maps that are new to the object: a null removes a key, and there is none to remove.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// A value that is new to the object, without its directives: a map with `$patch` is an instruction about an existing
/// item, and is dropped. Other directives stay, and are reported as unknown fields when the outcome is decoded.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// `$retainKeys`: removes the keys that it does not name.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(keys) = patch.swap_remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Status::bad_request("invalid patch format of retainKeys");
    let keys: HashSet<&str> = keys.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_str).collect();
    let directive = |key: &String| key.starts_with(DELETE_FROM) || key.starts_with(ORDER);
    let foreign =
        |(key, value): (&String, &Value)| !value.is_null() && !directive(key) && !keys.contains(key.as_str());
    if patch.iter().any(foreign) {
        return Err(bad());
    }
    original.retain(|key, _| keys.contains(key.as_str()));
    Ok(())
}

/// `$setElementOrder/LIST`: merges that list and puts it in order. The list and its directive are then taken out of the
/// patch.
fn set_orders(original: &mut Object, patch: &mut Object, schema: &Schema) -> Result<(), Status> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let order = patch.swap_remove(&directive).unwrap_or_default();
        let key = directive[ORDER.len()..].to_owned();
        let Value::Array(order) = order else { return Err(wrong_kind(&order)) };
        let old = list(original.get(&key))?;
        let new = list(patch.get(&key))?;
        let (child, strategy) = lookup(schema, &key)?;
        check_order(new.as_deref().unwrap_or(&[]), &order, strategy.key)?;
        let server = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if strategy.merge => merge_list(old, new, child, strategy, false)?,
            (Some(_), Some(new)) => new,
        };
        let ordered = in_order(merged, &order, &server, strategy.key)?;
        patch.swap_remove(&key);
        original.insert(key, Value::Array(ordered));
    }
    Ok(())
}

fn list(value: Option<&Value>) -> Result<Option<Vec<Value>>, Status> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(other) => Err(wrong_kind(other)),
    }
}

fn wrong_kind(value: &Value) -> Status {
    unforeseen(format!("expected a []interface {{}}, but received a {}", type_name(value)))
}

/// The items of the patch must come in the order that the directive gives.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Status> {
    let is_deletion = |item: &Value| item.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
    let mut kept = patch.iter().filter(|item| key.is_none() || !is_deletion(item)).peekable();
    for next in order {
        while kept.next_if(|item| item.get(DIRECTIVE).is_some()).is_some() {}
        let Some(item) = kept.peek() else { return Ok(()) };
        let same = match key {
            None => *item == next,
            Some(key) => key_of(item, key)? == key_of(next, key)?,
        };
        if same {
            kept.next();
        }
    }
    if order.is_empty() || kept.next().is_none() {
        return Ok(());
    }
    let shown = |items: &[Value]| printed(&Value::Array(items.to_vec()));
    let (patch, order) = (shown(patch), shown(order));
    let text = format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n");
    Err(unforeseen(text))
}

fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, Status> {
    if !item.is_object() {
        return Err(bad_order());
    }
    item.get(key).ok_or_else(|| no_merge_key(item, key))
}

/// The type that all items of both lists have: maps, or one type of scalar.
fn holds_maps(original: &[Value], patch: &[Value]) -> Result<bool, Status> {
    let mut types = original.iter().chain(patch).map(type_name);
    let Some(first) = types.next() else { return Err(unforeseen("no elements in any of the given slices")) };
    if first == "[]interface {}" {
        return Err(Status::failure(422, "", "lists of lists are not supported"));
    }
    if types.any(|other| other != first) {
        let shown =
            printed(&Value::Array(vec![Value::Array(original.to_vec()), Value::Array(patch.to_vec())]));
        return Err(unforeseen(format!("list element types are not identical: {shown}")));
    }
    Ok(first.starts_with("map"))
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    schema: &Schema,
    strategy: PatchStrategy,
    deletes: bool,
) -> Result<Vec<Value>, Status> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !holds_maps(&original, &patch)? {
        if deletes {
            let gone = Positions::of(&patch, None);
            return Ok(original.into_iter().filter(|item| gone.of_item(item).is_none()).collect());
        }
        let mut seen = HashSet::new();
        let all = original.iter().chain(&patch).filter(|item| seen.insert(item.to_string()));
        return in_order(all.cloned().collect(), &patch, &original, None);
    }
    let items = schema.items().unwrap_or(&ANYTHING);
    let Some(key) = strategy.key else {
        return Err(unforeseen(format!("cannot merge lists without merge key for {}", items.short_name())));
    };
    let (original, patch) = special_items(original, patch, key)?;
    let mut merged = original.clone();
    let mut positions = Positions::of(&merged, Some(key));
    for item in &patch {
        let value = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
        let Value::Object(change) = item else { continue };
        match positions.0.get(&value.to_string()) {
            Some(at) => {
                let Value::Object(old) = std::mem::take(&mut merged[*at]) else { continue };
                merged[*at] = Value::Object(merge_map(old, change.clone(), items)?);
            }
            None => {
                positions.0.insert(value.to_string(), merged.len());
                merged.push(item.clone());
            }
        }
    }
    in_order(merged, &patch, &original, Some(key))
}

/// Carries out the `$patch` items of a list. Returns what remains of the original, and of the patch.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut deleted: HashSet<String> = HashSet::new();
    let mut replaces = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                deleted.insert(value.to_string());
            }
            Some("replace") => replaces = true,
            Some("merge") => return Err(unforeseen("merging lists cannot yet be specified in the patch")),
            _ => return Err(bad_directive(directive, &item)),
        }
    }
    if !deleted.is_empty() {
        original.retain(|old| old.get(key).is_none_or(|value| !deleted.contains(&value.to_string())));
    }
    Ok(if replaces { (plain, Vec::new()) } else { (original, plain) })
}

/// Where items stand in a list, by their merge key or by themselves, the first of equals: by their JSON, since these
/// are texts and numbers.
struct Positions<'k>(HashMap<String, usize>, Option<&'k str>);

impl<'k> Positions<'k> {
    fn of(items: &[Value], key: Option<&'k str>) -> Positions<'k> {
        let named = items.iter().enumerate().rev().filter_map(|(at, item)| Some((name(item, key)?, at)));
        Positions(named.collect(), key)
    }

    fn of_item(&self, item: &Value) -> Option<usize> {
        self.0.get(&name(item, self.1)?).copied()
    }
}

fn name(item: &Value, key: Option<&str>) -> Option<String> {
    Some(match key {
        Some(key) => item.get(key)?.to_string(),
        None => item.to_string(),
    })
}

/// Puts a merged list in order: items that the patch names in the patch's order, the others in the server's, each of
/// those in front of the patch's items that the server has after it. Items new to the server come first.
fn in_order(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, Status> {
    let (in_patch, at_server) = (Positions::of(wanted, key), Positions::of(server, key));
    let stray = key.and_then(|_| wanted.iter().position(|item| !item.is_object()));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for item in merged {
        if let Some(key) = key.filter(|key| item.get(key).is_none()) {
            return Err(no_merge_key(&item, key));
        }
        let at = in_patch.of_item(&item);
        // Upstream searches the patch from the front, so it meets an item that is no map only if that stands before the
        // one it seeks.
        if let Some(stray) = stray.filter(|stray| at.is_none_or(|at| at > *stray)) {
            return Err(unforeseen(format!("value for key {stray} is not a map")));
        }
        if at.is_some() { ours.push(item) } else { theirs.push(item) }
    }
    ours.sort_by_cached_key(|item| in_patch.of_item(item));
    theirs.sort_by_cached_key(|item| at_server.of_item(item));
    let mut out = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(mine), Some(other)) = (ours.peek(), theirs.peek()) {
        let other_first = match (at_server.of_item(other), at_server.of_item(mine)) {
            (Some(other), Some(mine)) => other < mine,
            _ => false,
        };
        out.extend(if other_first { theirs.next() } else { ours.next() });
    }
    out.extend(ours);
    out.extend(theirs);
    Ok(out)
}
