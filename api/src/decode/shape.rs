//! From a document to an object: the schema says what is known, of which type, and in which order it is printed.
//!
//! The outcome is what Go would print after decoding: fields in the order of its structs, zero values dropped or
//! printed as their declarations say, quantities and times in canonical form, unknown fields gone.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::path::Path;
use super::time;
use crate::document::{Raw, number};
use crate::quantity::{Quantity, QuantityError};
use crate::schema::structural::Rules;
use crate::schema::{Schema, Shape, Struct, StructField, Text, Zero};

/// At most so many unknown or repeated fields are reported, as upstream does.
pub const MOST_STRICT: usize = 100;

/// Whose words are used for wrong types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// `encoding/json`: documents, and the outcome of JSON patches.
    Json,
    /// Upstream's converter for untyped maps: the outcome of strategic merge patches.
    Unstructured,
}

/// What was wrong with a document.
#[derive(Debug, Default)]
pub struct Problems {
    /// A value that is malformed in itself: reading stops there, so this is what is reported.
    fatal: Option<String>,
    /// The first value of a wrong type.
    first: Option<String>,
    /// Unknown and repeated fields.
    pub strict: Vec<String>,
}

impl Problems {
    /// The one error that makes the document unusable, if any.
    pub fn error(&mut self) -> Option<String> {
        self.fatal.take().or_else(|| self.first.take())
    }
}

/// Shapes a document by a schema.
pub fn shape(raw: Raw<'_>, schema: &Schema, wording: Wording) -> (Value, Problems) {
    let mut shaper = Shaper { wording, problems: Problems::default() };
    let value = shaper.value(raw, schema, None, &Path::Root);
    let mut problems = shaper.problems;
    if wording == Wording::Unstructured {
        problems.strict.sort();
    }
    (value.unwrap_or_else(|| zero(schema)), problems)
}

/// The value that Go gives to what nobody set.
pub fn zero(schema: &Schema) -> Value {
    match &schema.shape {
        Shape::Boolean => Value::Bool(false),
        Shape::Integer { .. } | Shape::Number | Shape::IntOrString => Value::from(0),
        Shape::Text(Text::Plain | Text::Bytes) => Value::String(String::new()),
        Shape::Quantity => Value::from("0"),
        Shape::Text(_) | Shape::List { .. } | Shape::Map { .. } | Shape::Any => Value::Null,
        Shape::Struct(fields) => assemble(fields, vec![None; fields.fields.len()], None),
    }
}

struct Shaper {
    wording: Wording,
    problems: Problems,
}

impl Shaper {
    fn strict(&mut self, what: &str, parent: &Path<'_>, key: &str) {
        if self.problems.strict.len() >= MOST_STRICT {
            return;
        }
        let text = format!("{what} field \"{}\"", Path::Key { parent, key });
        if !self.problems.strict.contains(&text) {
            self.problems.strict.push(text);
        }
    }

    fn wrong(&mut self, text: String) {
        self.problems.first.get_or_insert(text);
    }

    fn fatal(&mut self, text: String) {
        self.problems.fatal.get_or_insert(text);
    }

    /// A value of another type than the field's. `label` is the type's own name, where it has one.
    fn mismatch(&mut self, raw: &Raw<'_>, schema: &Schema, label: Option<&str>, path: &Path<'_>) {
        if self.problems.first.is_some() {
            return;
        }
        let go = label.unwrap_or(&schema.go);
        let text = match self.wording {
            Wording::Json => {
                let what = match (raw, &schema.shape) {
                    (Raw::Number(text), Shape::Integer { .. }) => format!("number {text}"),
                    _ => raw.go_name().into(),
                };
                format!("json: cannot unmarshal {what} into {} of type {go}", path.context())
            }
            Wording::Unstructured => {
                let (kind, type_name) = untyped(raw);
                match schema.shape {
                    Shape::Map { .. } => format!("cannot restore map from {kind}"),
                    Shape::List { .. } | Shape::Text(Text::Bytes) => {
                        format!("cannot restore slice from {kind}")
                    }
                    Shape::Struct(_) => format!("cannot restore struct from: {kind}"),
                    // Go would turn integers into strings and cut floats, so these two have texts of their own.
                    Shape::Text(_) if type_name == "int64" => format!("cannot convert int64 to {go}"),
                    Shape::Integer { .. } if type_name == "float64" => {
                        format!("cannot convert float64 to {go}")
                    }
                    _ => format!("unrecognized type: {}", schema.go),
                }
            }
        };
        self.wrong(text);
    }

    /// A malformed value of a type that reads itself, such as a time. For a malformed scalar Go stops
    /// reading; after a malformed list or map it goes on.
    fn malformed(&mut self, is_scalar: bool, text: String) {
        if is_scalar { self.fatal(text) } else { self.wrong(text) }
    }

    /// Types that read themselves complain of foreign JSON types with the name of what they are inside.
    fn self_read_mismatch(&mut self, raw: &Raw<'_>, inside: &str, path: &Path<'_>) {
        let context = if self.wording == Wording::Json { path.context() } else { "Go value".into() };
        let scalar = !matches!(raw, Raw::List(_) | Raw::Map(_));
        let what = match raw {
            Raw::Number(text) if inside == "int32" => format!("number {text}"),
            _ => raw.go_name().into(),
        };
        self.malformed(scalar, format!("json: cannot unmarshal {what} into {context} of type {inside}"));
    }

    /// The shaped value, or nothing where Go would leave the field alone: for `null`, and for wrong types.
    fn value(
        &mut self,
        raw: Raw<'_>,
        schema: &Schema,
        label: Option<&str>,
        path: &Path<'_>,
    ) -> Option<Value> {
        if let Some(rules) = &schema.rules {
            return self.defined(raw, schema, rules, path);
        }
        if raw == Raw::Null {
            return None;
        }
        match (&schema.shape, raw) {
            (Shape::Any, raw) => Some(raw.into_value()),
            (Shape::Boolean, Raw::Bool(b)) => Some(Value::Bool(b)),
            (Shape::Text(Text::Plain), Raw::Text(text)) => Some(Value::String(text.into_owned())),
            (Shape::Text(Text::Bytes), Raw::Text(text)) => self.bytes(&text),
            (Shape::Text(kind @ (Text::Time | Text::MicroTime)), raw) => self.time(&raw, *kind, path),
            (Shape::Quantity, raw) => self.quantity(&raw, |quantity| quantity),
            (Shape::IntOrString, raw) => self.int_or_string(raw, path),
            (Shape::Integer { bits }, Raw::Number(text)) => match whole(&text, *bits, self.wording) {
                Some(value) => Some(Value::from(value)),
                None => {
                    self.mismatch(&Raw::Number(text), schema, label, path);
                    None
                }
            },
            (Shape::Number, Raw::Number(text)) => Some(number(&text)),
            (Shape::List { items, .. }, Raw::List(raws)) => {
                let items = items.get();
                let values = raws.into_iter().enumerate().map(|(index, raw)| {
                    self.value(raw, items, None, &Path::Index { parent: path, index })
                        .unwrap_or_else(|| zero(items))
                });
                Some(Value::Array(values.collect()))
            }
            (Shape::Map { values }, Raw::Map(entries)) => Some(self.map(entries, values.get(), path)),
            (Shape::Struct(fields), Raw::Map(entries)) => Some(self.fields(entries, schema, fields, path)),
            (_, raw) => {
                self.mismatch(&raw, schema, label, path);
                None
            }
        }
    }

    /// A value of a type that was defined at run time. What is of another type stays as it is: validation refuses it by name.
    fn defined(&mut self, raw: Raw<'_>, schema: &Schema, rules: &Rules, path: &Path<'_>) -> Option<Value> {
        match (&schema.shape, raw) {
            // Left out where it is no value, so that a default can take its place.
            (_, Raw::Null) => rules.nullable.then_some(Value::Null),
            (Shape::Struct(fields), Raw::Map(entries)) => Some(self.fields(entries, schema, fields, path)),
            (Shape::Map { values }, Raw::Map(entries)) => {
                let mut map = Map::new();
                for (key, raw) in entries {
                    let here = Path::Key { parent: path, key: &key };
                    let value = self.value(raw, values.get(), None, &here);
                    if let Some(value) = value
                        && map.insert(key.clone().into_owned(), value).is_some()
                    {
                        self.strict("duplicate", path, &key);
                    }
                }
                Some(Value::Object(map))
            }
            (Shape::List { items, .. }, Raw::List(raws)) => {
                let values = raws.into_iter().enumerate().map(|(index, raw)| {
                    let here = Path::Index { parent: path, index };
                    self.value(raw, items.get(), None, &here).unwrap_or_default()
                });
                Some(Value::Array(values.collect()))
            }
            (_, raw) => Some(raw.into_value()),
        }
    }

    fn bytes(&mut self, text: &str) -> Option<Value> {
        use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
        let text = text.replace(['\r', '\n'], "");
        match STANDARD.decode(&text) {
            Ok(_) => Some(Value::String(text)),
            Err(error) => {
                let at = match error {
                    DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                    DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len() / 4 * 4,
                };
                self.wrong(format!("illegal base64 data at input byte {at}"));
                None
            }
        }
    }

    fn time(&mut self, raw: &Raw<'_>, kind: Text, path: &Path<'_>) -> Option<Value> {
        let Raw::Text(text) = raw else {
            self.self_read_mismatch(raw, "string", path);
            return None;
        };
        match time::canonical(text, kind == Text::MicroTime) {
            Ok(text) => Some(Value::String(text)),
            Err(error) => {
                self.fatal(error);
                None
            }
        }
    }

    fn quantity(&mut self, raw: &Raw<'_>, round: fn(Quantity) -> Quantity) -> Option<Value> {
        let (text, scalar) = match raw {
            Raw::Text(text) | Raw::Number(text) => (text.as_ref(), true),
            Raw::Bool(_) => ("bool", true),
            _ => ("{}", false),
        };
        match text.trim().parse() {
            Ok(quantity) => Some(Value::String(round(quantity).to_string())),
            Err(error) => {
                self.malformed(scalar, QuantityError::to_string(&error));
                None
            }
        }
    }

    fn int_or_string(&mut self, raw: Raw<'_>, path: &Path<'_>) -> Option<Value> {
        match raw {
            Raw::Text(text) => Some(Value::String(text.into_owned())),
            Raw::Number(text) => match whole(&text, 32, Wording::Json) {
                Some(value) => Some(Value::from(value)),
                None => {
                    self.self_read_mismatch(&Raw::Number(text), "int32", path);
                    None
                }
            },
            raw => {
                self.self_read_mismatch(&raw, "int32", path);
                None
            }
        }
    }

    /// A map, its keys sorted as upstream prints them.
    fn map(&mut self, entries: Vec<(Cow<'_, str>, Raw<'_>)>, values: &Schema, path: &Path<'_>) -> Value {
        let mut shaped: BTreeMap<String, Value> = BTreeMap::new();
        let mut reported: HashSet<Cow<'_, str>> = HashSet::new();
        for (key, raw) in entries {
            let here = Path::Key { parent: path, key: &key };
            let value = match values.shape {
                // Maps of quantities are resource lists, which are kept to the thousandth.
                Shape::Quantity if raw != Raw::Null => self.quantity(&raw, Quantity::in_resource_list),
                _ => self.value(raw, values, None, &here),
            };
            let value = value.unwrap_or_else(|| zero(values));
            if shaped.contains_key(key.as_ref()) && reported.insert(key.clone()) {
                self.strict("duplicate", path, &key);
            }
            shaped.insert(key.into_owned(), value);
        }
        Value::Object(shaped.into_iter().collect())
    }

    fn fields(
        &mut self,
        entries: Vec<(Cow<'_, str>, Raw<'_>)>,
        schema: &Schema,
        fields: &Struct,
        path: &Path<'_>,
    ) -> Value {
        let owner = schema.short_name();
        let mut slots: Vec<Option<Value>> = vec![None; fields.fields.len()];
        let mut times = vec![0_usize; fields.fields.len()];
        let mut unknown = Vec::new();
        let mut reported: HashSet<Cow<'_, str>> = HashSet::new();
        for (key, raw) in entries {
            let Some(at) = fields.position(&key) else {
                if fields.open {
                    unknown.push((key.into_owned(), raw.into_value()));
                } else if reported.insert(key.clone()) {
                    self.strict("unknown", path, &key);
                }
                continue;
            };
            if times[at] == 1 {
                self.strict("duplicate", path, &key);
            }
            let field = &fields.fields[at];
            let here = Path::Field { parent: path, owner, embedded: &field.embedded, name: &field.name };
            let given = raw != Raw::Null;
            if let Some(value) = self.value(raw, field.link.get(), field.go.as_deref(), &here) {
                overlay(&mut slots[at], value);
            } else if !given && !matches!(field.zero, Zero::Omitted) {
                slots[at] = None;
            }
            times[at] += 1;
        }
        assemble(fields, slots, (!unknown.is_empty()).then_some(unknown))
    }
}

/// A repeated field is decoded onto what the first one left, as Go does with structs and maps.
fn overlay(slot: &mut Option<Value>, value: Value) {
    match (slot.as_mut(), value) {
        (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
        (_, value) => *slot = Some(value),
    }
}

/// Fields in order, without the zero values that are not printed.
fn assemble(fields: &Struct, slots: Vec<Option<Value>>, unknown: Option<Vec<(String, Value)>>) -> Value {
    // Allocates no more than is needed, since most of a large body is lists of small structs.
    let printed = |field: &StructField, slot: &Option<Value>| slot.is_some() || field.zero == Zero::Printed;
    let count = fields.fields.iter().zip(&slots).filter(|(field, slot)| printed(field, slot)).count();
    let mut map = Map::with_capacity(count);
    for (field, slot) in fields.fields.iter().zip(slots) {
        let value = match slot {
            Some(value) if field.zero == Zero::Omitted && is_zero_scalar(&value) => continue,
            Some(value)
                if field.zero == Zero::Kept && is_empty_collection(&value, &field.link.get().shape) =>
            {
                continue;
            }
            Some(value) => value,
            None if field.zero == Zero::Printed => zero(field.link.get()),
            None => continue,
        };
        map.insert(field.name.clone().into_owned(), value);
    }
    map.extend(unknown.into_iter().flatten());
    Value::Object(map)
}

fn is_empty_collection(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn is_zero_scalar(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

/// An integer of that many bits. JSON's `80.0` is none, but an untyped tree no longer knows how it was spelled.
fn whole(text: &str, bits: u8, wording: Wording) -> Option<i64> {
    let value = match text.parse::<i64>() {
        Ok(value) => value,
        #[allow(clippy::cast_possible_truncation)]
        Err(_) if wording == Wording::Unstructured => {
            text.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64)?
        }
        Err(_) => return None,
    };
    (bits == 64 || i32::try_from(value).is_ok()).then_some(value)
}

/// The reflect kind and type of a value in one of upstream's untyped maps.
fn untyped(raw: &Raw<'_>) -> (&'static str, &'static str) {
    match raw {
        Raw::Null => ("invalid", "<nil>"),
        Raw::Bool(_) => ("bool", "bool"),
        Raw::Number(text) if text.parse::<i64>().is_ok() => ("int64", "int64"),
        Raw::Number(_) => ("float64", "float64"),
        Raw::Text(_) => ("string", "string"),
        Raw::List(_) => ("slice", "[]interface {}"),
        Raw::Map(_) => ("map", "map[string]interface {}"),
    }
}
