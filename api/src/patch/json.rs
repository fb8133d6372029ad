//! JSON patch (RFC 6902), with the liberties of the library that upstream uses: `replace` of a missing map key adds
//! it, `copy` and `test` read a missing one as null, `add` without a value adds null, indexes may be negative or have
//! leading zeros.
//!
//! The crate `json-patch` follows the RFC more closely than upstream does.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::refuse::{not_decoded, rejected, undecodable};
use crate::decode::MOST_STRICT;
use crate::document::{DEPTH, Limits, Raw, json as reader};
use crate::status::Status;

/// How much one patch may copy or move, all operations together: copying a map into itself doubles it each time, and a long
/// text costs its length each time. Upstream counts the bytes of copies, 3 MiB of them.
const MOST_MOVED: Limits = Limits { values: Limits::REQUEST.values, bytes: 3 << 20 };
/// Items that one patch may push to another place by adding or removing items before them, all operations together. Ten
/// thousand operations at the front of a list of ten thousand items come to this.
const MOST_SHIFTED: usize = 100_000_000;
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

/// Why a patch was given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// An operation does not apply. Upstream tells the client no more than that.
    Rejected,
    /// A limit was met; the text says which.
    TooMuch(String),
}

impl Misfit {
    pub(super) fn status(self) -> Status {
        match self {
            Misfit::Rejected => rejected(),
            Misfit::TooMuch(text) => Status::too_large(text),
        }
    }
}

/// What all operations of one patch have done together.
#[derive(Default)]
struct Work {
    moved: Size,
    shifted: usize,
}

/// How large values are.
#[derive(Clone, Default)]
struct Size {
    values: usize,
    /// Of keys and texts.
    bytes: usize,
}

impl Work {
    fn shift(&mut self, items: usize) -> Result<(), Misfit> {
        self.shifted = self.shifted.saturating_add(items);
        if self.shifted <= MOST_SHIFTED {
            return Ok(());
        }
        let text = format!("The patch moves items of lists more than {MOST_SHIFTED} times");
        Err(Misfit::TooMuch(text))
    }
}

/// Reads the operations of a patch, and names their unknown and repeated fields.
pub(super) fn operations(text: &str, validate: bool) -> Result<(Vec<Operation>, Vec<String>), Status> {
    let items = match reader::parse(text).map_err(not_decoded)? {
        Raw::List(items) => items,
        Raw::Null => Vec::new(),
        other => return Err(undecodable(&other.misfit("value of type []handlers.jsonPatchOp"))),
    };
    if items.len() > MOST_OPERATIONS {
        let text = format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            items.len()
        );
        return Err(Status::too_large(text));
    }
    let mut faults = Vec::new();
    let mut operations = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        operations.push(operation(item, index, &mut faults)?);
    }
    Ok((operations, if validate { faults } else { Vec::new() }))
}

fn operation(item: Raw<'_>, index: usize, faults: &mut Vec<String>) -> Result<Operation, Status> {
    let entries = match item {
        Raw::Map(entries) => entries,
        Raw::Null => return Ok(Operation::default()),
        other => return Err(undecodable(&other.misfit("value of type handlers.jsonPatchOp"))),
    };
    let mut operation = Operation::default();
    let mut times: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (key, raw) in entries {
        let text = |raw: Raw<'_>| match raw {
            Raw::Text(text) => Ok(Some(text.into_owned())),
            Raw::Null => Ok(None),
            other => {
                Err(undecodable(&other.misfit(&format!("struct field jsonPatchOp.{key} of type string"))))
            }
        };
        let known = match key.as_ref() {
            "op" => {
                operation.op = text(raw)?.unwrap_or_default();
                true
            }
            "path" => {
                operation.path = text(raw)?;
                true
            }
            "from" => {
                operation.from = text(raw)?;
                true
            }
            "value" => {
                operation.value = raw.into_value();
                true
            }
            _ => false,
        };
        let before = times.get(&key).copied().unwrap_or_default();
        let fault = match (known, before) {
            (false, 0) => Some("unknown"),
            (true, 1) => Some("duplicate"),
            _ => None,
        };
        if let Some(what) = fault.filter(|_| faults.len() < MOST_STRICT) {
            faults.push(format!("json patch {what} field \"[{index}].{key}\""));
        }
        *times.entry(key).or_default() += 1;
    }
    Ok(operation)
}

/// Applies the operations in turn.
pub(super) fn apply(mut document: Value, operations: Vec<Operation>) -> Result<Value, Misfit> {
    let mut work = Work::default();
    for operation in operations {
        let path = operation.path.as_deref().ok_or(Misfit::Rejected)?;
        match operation.op.as_str() {
            "add" => {
                fits(&operation.value, path, &mut Size::default())?;
                add(&mut document, path, operation.value, &mut work)?;
            }
            "remove" => drop(remove(&mut document, path, &mut work)?),
            "replace" => replace(&mut document, path, operation.value)?,
            op @ ("move" | "copy") => {
                let from = operation.from.as_deref().ok_or(Misfit::Rejected)?;
                let value = if op == "move" {
                    remove(&mut document, from, &mut work)?
                } else {
                    let found = read(&mut document, from)?;
                    // Measured before it is copied.
                    found.map_or(Ok(Value::Null), |found| {
                        fits(found, path, &mut work.moved.clone())?;
                        Ok(found.clone())
                    })?
                };
                fits(&value, path, &mut work.moved)?;
                add(&mut document, path, value, &mut work)?;
            }
            "test" => test(&mut document, path, &operation.value)?,
            _ => return Err(Misfit::Rejected),
        }
    }
    Ok(document)
}

/// The container that a pointer's last token names a place in, and that token.
fn container<'d>(document: &'d mut Value, pointer: &str) -> Result<(&'d mut Value, String), Misfit> {
    let mut tokens = pointer.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
    tokens.next();
    let mut tokens: Vec<String> = tokens.collect();
    let last = tokens.pop().ok_or(Misfit::Rejected)?;
    let mut here = document;
    for token in tokens {
        here = match here {
            Value::Object(map) => map.get_mut(&token).ok_or(Misfit::Rejected)?,
            Value::Array(items) => {
                let at = index(&token, items)?;
                &mut items[at]
            }
            _ => return Err(Misfit::Rejected),
        };
    }
    if here.is_object() || here.is_array() { Ok((here, last)) } else { Err(Misfit::Rejected) }
}

/// An index below `bound`; a negative one counts from `bound` backwards.
fn position(token: &str, bound: usize) -> Result<usize, Misfit> {
    let index: i64 = token.parse().map_err(|_| Misfit::Rejected)?;
    let bound = i64::try_from(bound).map_err(|_| Misfit::Rejected)?;
    let at = if index < 0 { index + bound } else { index };
    usize::try_from(at).ok().filter(|_| at < bound).ok_or(Misfit::Rejected)
}

/// The index of an item that is there.
fn index(token: &str, items: &[Value]) -> Result<usize, Misfit> {
    position(token, items.len())
}

/// Adds the size of a tree; no value may stand deeper than `room` allows.
fn measure(value: &Value, room: usize, size: &mut Size) -> Result<(), Misfit> {
    size.values += 1;
    size.bytes += match value {
        Value::String(text) => text.len(),
        Value::Object(map) => map.keys().map(String::len).sum(),
        _ => 0,
    };
    let fits = size.values <= MOST_MOVED.values && size.bytes <= MOST_MOVED.bytes;
    let room = room.checked_sub(1).filter(|_| fits).ok_or(Misfit::Rejected)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, room, size)),
        Value::Object(map) => map.values().try_for_each(|item| measure(item, room, size)),
        _ => Ok(()),
    }
}

/// Whether a value may stand at a path: not too deep, and not one too many of those that are counted.
fn fits(value: &Value, path: &str, size: &mut Size) -> Result<(), Misfit> {
    let tokens = path.matches('/').count();
    measure(value, DEPTH.checked_sub(tokens).ok_or(Misfit::Rejected)?, size)
}

fn add(document: &mut Value, path: &str, value: Value, work: &mut Work) -> Result<(), Misfit> {
    let (parent, token) = container(document, path)?;
    match parent {
        Value::Object(map) => drop(map.insert(token, value)),
        Value::Array(items) if token == "-" => items.push(value),
        Value::Array(items) => {
            let at = position(&token, items.len() + 1)?;
            work.shift(items.len() - at)?;
            items.insert(at, value);
        }
        _ => return Err(Misfit::Rejected),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str, work: &mut Work) -> Result<Value, Misfit> {
    let (parent, token) = container(document, path)?;
    match parent {
        // The order of keys is lost anyway: the outcome is decoded as a Go map, sorted.
        Value::Object(map) => map.swap_remove(&token).ok_or(Misfit::Rejected),
        Value::Array(items) => {
            let at = index(&token, items)?;
            work.shift(items.len() - at)?;
            Ok(items.remove(at))
        }
        _ => Err(Misfit::Rejected),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), Misfit> {
    fits(&value, path, &mut Size::default())?;
    if path.is_empty() && (value.is_object() || value.is_array()) {
        *document = value;
        return Ok(());
    }
    let (parent, token) = container(document, path)?;
    match parent {
        Value::Object(map) => drop(map.insert(token, value)),
        Value::Array(items) => {
            let at = index(&token, items)?;
            items[at] = value;
        }
        _ => return Err(Misfit::Rejected),
    }
    Ok(())
}

/// What a pointer names; nothing for a key that a map does not have.
fn read<'d>(document: &'d mut Value, path: &str) -> Result<Option<&'d Value>, Misfit> {
    let (parent, token) = container(document, path)?;
    match parent {
        Value::Object(map) => Ok(map.get(&token)),
        Value::Array(items) => Ok(Some(&items[index(&token, items)?])),
        _ => Err(Misfit::Rejected),
    }
}

fn test(document: &mut Value, path: &str, expected: &Value) -> Result<(), Misfit> {
    let found = if path.is_empty() { Some(&*document) } else { read(document, path)? };
    if found.unwrap_or(&Value::Null) == expected { Ok(()) } else { Err(Misfit::Rejected) }
}
