//! JSON patch (RFC 6902), with the liberties of the library that upstream uses: `replace` of a missing map key adds
//! it, `copy` and `test` read a missing one as null, `add` without a value adds null, indexes may be negative or have
//! leading zeros.
//!
//! The crate `json-patch` follows the RFC more closely than upstream does.

use std::borrow::Cow;

use serde_json::Value;

use super::not_decoded;
use crate::decode::{Node, json as reader};
use crate::status::Status;

/// Values that one patch may copy or move, all operations together: copying a map into itself doubles it each time.
/// Upstream counts bytes of copies, 3 MiB of them.
const MOST_MOVED: usize = 300_000;
/// The deepest nesting that is made, as deep as documents are read.
const DEPTH: usize = 120;
/// Upstream's limit.
const MOST_OPERATIONS: usize = 10_000;

/// One operation. What is no string where one must be fails when the operation is applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

/// An operation that does not apply. Upstream tells the client no more than that.
pub(super) struct Misfit;

pub(super) fn rejected() -> Status {
    Status::rejected()
}

/// Reads the operations of a patch, and names their unknown and repeated fields.
pub(super) fn operations(text: &str, validate: bool) -> Result<(Vec<Operation>, Vec<String>), Status> {
    let node = reader::parse(text).map_err(|error| not_decoded(&error))?;
    let items = match node {
        Node::List(items) => items,
        Node::Null => Vec::new(),
        other => return Err(not_decoded(&other.misfit("value of type []handlers.jsonPatchOp"))),
    };
    if items.len() > MOST_OPERATIONS {
        let text = format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            items.len()
        );
        return Err(Status::failure(413, "RequestEntityTooLarge", text));
    }
    let mut faults = Vec::new();
    let mut operations = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        operations.push(operation(item, index, &mut faults)?);
    }
    Ok((operations, if validate { faults } else { Vec::new() }))
}

fn operation(item: Node<'_>, index: usize, faults: &mut Vec<String>) -> Result<Operation, Status> {
    let entries = match item {
        Node::Map(entries) => entries,
        Node::Null => return Ok(Operation::default()),
        other => return Err(not_decoded(&other.misfit("value of type handlers.jsonPatchOp"))),
    };
    let mut operation = Operation::default();
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (key, node) in entries {
        let text = |node: Node<'_>| match node {
            Node::Text(text) => Ok(Some(text.into_owned())),
            Node::Null => Ok(None),
            other => {
                Err(not_decoded(&other.misfit(&format!("struct field jsonPatchOp.{key} of type string"))))
            }
        };
        match key.as_ref() {
            "op" => operation.op = text(node)?.unwrap_or_default(),
            "path" => operation.path = text(node)?,
            "from" => operation.from = text(node)?,
            "value" => operation.value = node.into_value(),
            _ => {
                faults.push(format!("json patch unknown field \"[{index}].{key}\""));
                continue;
            }
        }
        if seen.contains(&key) {
            faults.push(format!("json patch duplicate field \"[{index}].{key}\""));
        }
        seen.push(key);
    }
    Ok(operation)
}

/// Applies the operations in turn.
pub(super) fn apply(mut document: Value, operations: &[Operation]) -> Result<Value, Misfit> {
    let mut moved = 0;
    for operation in operations {
        let path = operation.path.as_deref().ok_or(Misfit)?;
        match operation.op.as_str() {
            "add" => add(&mut document, path, operation.value.clone(), &mut 0)?,
            "remove" => drop(remove(&mut document, path)?),
            "replace" => replace(&mut document, path, operation.value.clone())?,
            op @ ("move" | "copy") => {
                let from = operation.from.as_deref().ok_or(Misfit)?;
                let value =
                    if op == "move" { remove(&mut document, from)? } else { read(&mut document, from)? };
                add(&mut document, path, value, &mut moved)?;
            }
            "test" => test(&mut document, path, &operation.value)?,
            _ => return Err(Misfit),
        }
    }
    Ok(document)
}

/// The container that a pointer's last token names a place in, and that token.
fn container<'d>(document: &'d mut Value, pointer: &str) -> Result<(&'d mut Value, String), Misfit> {
    let mut tokens = pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
    tokens.next();
    let mut tokens: Vec<String> = tokens.collect();
    let last = tokens.pop().ok_or(Misfit)?;
    let mut here = document;
    for token in tokens {
        here = match here {
            Value::Object(map) => map.get_mut(&token).ok_or(Misfit)?,
            Value::Array(items) => {
                let at = index(&token, items)?;
                &mut items[at]
            }
            _ => return Err(Misfit),
        };
    }
    if here.is_object() || here.is_array() { Ok((here, last)) } else { Err(Misfit) }
}

/// An index below `bound`; a negative one counts from `bound` backwards.
fn position(token: &str, bound: usize) -> Result<usize, Misfit> {
    let index: i64 = token.parse().map_err(|_| Misfit)?;
    let bound = i64::try_from(bound).map_err(|_| Misfit)?;
    let at = if index < 0 { index + bound } else { index };
    usize::try_from(at).ok().filter(|_| at < bound).ok_or(Misfit)
}

/// The index of an item that is there.
fn index(token: &str, items: &[Value]) -> Result<usize, Misfit> {
    position(token, items.len())
}

/// Counts the values in a tree; none may stand deeper than `room` allows.
fn measure(value: &Value, room: usize, count: &mut usize) -> Result<(), Misfit> {
    *count += 1;
    let room = room.checked_sub(1).filter(|_| *count <= MOST_MOVED).ok_or(Misfit)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, room, count)),
        Value::Object(map) => map.values().try_for_each(|item| measure(item, room, count)),
        _ => Ok(()),
    }
}

fn add(document: &mut Value, path: &str, value: Value, moved: &mut usize) -> Result<(), Misfit> {
    let tokens = path.matches('/').count();
    measure(&value, DEPTH.checked_sub(tokens).ok_or(Misfit)?, moved)?;
    let (place, token) = container(document, path)?;
    match place {
        Value::Object(map) => drop(map.insert(token, value)),
        Value::Array(items) if token == "-" => items.push(value),
        Value::Array(items) => {
            let at = position(&token, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return Err(Misfit),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, Misfit> {
    let (place, token) = container(document, path)?;
    match place {
        Value::Object(map) => map.shift_remove(&token).ok_or(Misfit),
        Value::Array(items) => Ok(items.remove(index(&token, items)?)),
        _ => Err(Misfit),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Misfit> {
    let tokens = path.matches('/').count();
    measure(&value, DEPTH.checked_sub(tokens).ok_or(Misfit)?, &mut 0)?;
    if path.is_empty() && (value.is_object() || value.is_array()) {
        *document = value;
        return Ok(());
    }
    let (place, token) = container(document, path)?;
    match place {
        Value::Object(map) => drop(map.insert(token, value)),
        Value::Array(items) => {
            let at = index(&token, items)?;
            items[at] = value;
        }
        _ => return Err(Misfit),
    }
    Ok(())
}

/// What a pointer names; null for a key that a map does not have.
fn read(document: &mut Value, path: &str) -> Result<Value, Misfit> {
    let (place, token) = container(document, path)?;
    match place {
        Value::Object(map) => Ok(map.get(&token).cloned().unwrap_or_default()),
        Value::Array(items) => Ok(items[index(&token, items)?].clone()),
        _ => Err(Misfit),
    }
}

fn test(document: &mut Value, path: &str, expected: &Value) -> Result<(), Misfit> {
    let found = if path.is_empty() { document.clone() } else { read(document, path)? };
    if found == *expected { Ok(()) } else { Err(Misfit) }
}
