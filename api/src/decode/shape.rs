//! From a document to an object: the schema says what is known, of which type, and in which order it is printed.
//!
//! The outcome is what Go would print after decoding: fields in the order of its structs, zero values dropped or
//! printed as their declarations say, quantities and times in canonical form, unknown fields gone.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::node::{Node, number};
use super::time;
use crate::quantity::{Quantity, QuantityError};
use crate::schema::{Schema, Shape, Struct, Text, Zero};

/// More faults than this are not counted, as upstream does.
const MOST_STRICT: usize = 100;

/// Whose words are used for wrong types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// `encoding/json`: documents, and the outcome of JSON patches.
    Json,
    /// Upstream's converter for untyped maps: the outcome of strategic merge patches.
    Unstructured,
}

/// What was wrong with a document.
#[derive(Debug, Default)]
pub struct Problems {
    /// A value that is malformed in itself: reading stops there, so this is what is told.
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
pub fn shape(node: Node<'_>, schema: &Schema, tongue: Tongue) -> (Value, Problems) {
    let mut shaper = Shaper { tongue, problems: Problems::default() };
    let value = shaper.value(node, schema, None, &Place::Root);
    let mut problems = shaper.problems;
    if tongue == Tongue::Unstructured {
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

/// Where in the document and in Go's types a value stands.
enum Place<'a> {
    Root,
    Field { parent: &'a Place<'a>, owner: &'a str, embedded: Option<&'a str>, name: &'a str },
    Index { parent: &'a Place<'a>, index: usize },
    Key { parent: &'a Place<'a>, key: &'a str },
}

impl Place<'_> {
    /// Go's path: names of fields and of embedded structs, no indexes. Answers the struct that holds the last field.
    fn go(&self, out: &mut String) -> &str {
        match self {
            Place::Root => "",
            Place::Index { parent, .. } | Place::Key { parent, .. } => parent.go(out),
            Place::Field { parent, owner, embedded, name } => {
                parent.go(out);
                for part in embedded.iter().chain([name]) {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(part);
                }
                owner
            }
        }
    }

    /// What `of type` refers to in Go's errors.
    fn context(&self) -> String {
        let mut path = String::new();
        let owner = self.go(&mut path);
        if path.is_empty() { "Go value".into() } else { format!("Go struct field {owner}.{path}") }
    }
}

/// The path as unknown and repeated fields print it: `spec.containers[0].image`.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Index { parent, index } => write!(f, "{parent}[{index}]"),
            Place::Field { parent, name, .. } | Place::Key { parent, key: name } => match parent {
                Place::Root => f.write_str(name),
                _ => write!(f, "{parent}.{name}"),
            },
        }
    }
}

struct Shaper {
    tongue: Tongue,
    problems: Problems,
}

impl Shaper {
    fn strict(&mut self, what: &str, parent: &Place<'_>, key: &str) {
        if self.problems.strict.len() >= MOST_STRICT {
            return;
        }
        let text = format!("{what} field \"{}\"", Place::Key { parent, key });
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
    fn mismatch(&mut self, node: &Node<'_>, schema: &Schema, label: Option<&str>, place: &Place<'_>) {
        let go = label.unwrap_or(&schema.go);
        let text = match self.tongue {
            Tongue::Json => {
                let what = match (node, &schema.shape) {
                    (Node::Number(text), Shape::Integer { .. }) => format!("number {text}"),
                    _ => node.go_name().into(),
                };
                format!("json: cannot unmarshal {what} into {} of type {go}", place.context())
            }
            Tongue::Unstructured => {
                let (kind, type_name) = untyped(node);
                match schema.shape {
                    Shape::Map { .. } => format!("cannot restore map from {kind}"),
                    Shape::List { .. } | Shape::Text(Text::Bytes) => {
                        format!("cannot restore slice from {kind}")
                    }
                    Shape::Struct(_) => format!("cannot restore struct from: {kind}"),
                    // Go would turn integers into strings and cut floats; nothing else is near enough to be refused in person.
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

    /// A malformed value of a type that reads itself, such as a time. Go gives up at scalars and goes on behind others.
    fn malformed(&mut self, node_is_scalar: bool, text: String) {
        if node_is_scalar { self.fatal(text) } else { self.wrong(text) }
    }

    /// Types that read themselves complain of foreign JSON types with the name of what they are inside.
    fn self_read_mismatch(&mut self, node: &Node<'_>, inside: &str, place: &Place<'_>) {
        let context = if self.tongue == Tongue::Json { place.context() } else { "Go value".into() };
        let scalar = !matches!(node, Node::List(_) | Node::Map(_));
        let what = match node {
            Node::Number(text) if inside == "int32" => format!("number {text}"),
            _ => node.go_name().into(),
        };
        self.malformed(scalar, format!("json: cannot unmarshal {what} into {context} of type {inside}"));
    }

    /// The shaped value, or nothing where Go would leave the field alone: for `null`, and for wrong types.
    fn value(
        &mut self,
        node: Node<'_>,
        schema: &Schema,
        label: Option<&str>,
        place: &Place<'_>,
    ) -> Option<Value> {
        if node == Node::Null {
            return None;
        }
        match (&schema.shape, node) {
            (Shape::Any, node) => Some(node.into_value()),
            (Shape::Boolean, Node::Bool(b)) => Some(Value::Bool(b)),
            (Shape::Text(Text::Plain), Node::Text(text)) => Some(Value::String(text.into_owned())),
            (Shape::Text(Text::Bytes), Node::Text(text)) => self.bytes(&text),
            (Shape::Text(kind @ (Text::Time | Text::MicroTime)), node) => self.time(&node, *kind, place),
            (Shape::Quantity, node) => self.quantity(&node, |quantity| quantity),
            (Shape::IntOrString, node) => self.int_or_string(node, place),
            (Shape::Integer { bits }, Node::Number(text)) => match whole(&text, *bits, self.tongue) {
                Some(value) => Some(Value::from(value)),
                None => {
                    self.mismatch(&Node::Number(text), schema, label, place);
                    None
                }
            },
            (Shape::Number, Node::Number(text)) => Some(number(&text)),
            (Shape::List { items, .. }, Node::List(nodes)) => {
                let items = items.get();
                let values = nodes.into_iter().enumerate().map(|(index, node)| {
                    self.value(node, items, None, &Place::Index { parent: place, index })
                        .unwrap_or_else(|| zero(items))
                });
                Some(Value::Array(values.collect()))
            }
            (Shape::Map { values }, Node::Map(entries)) => Some(self.map(entries, values.get(), place)),
            (Shape::Struct(fields), Node::Map(entries)) => Some(self.fields(entries, schema, fields, place)),
            (_, node) => {
                self.mismatch(&node, schema, label, place);
                None
            }
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

    fn time(&mut self, node: &Node<'_>, kind: Text, place: &Place<'_>) -> Option<Value> {
        let Node::Text(text) = node else {
            self.self_read_mismatch(node, "string", place);
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

    fn quantity(&mut self, node: &Node<'_>, round: fn(Quantity) -> Quantity) -> Option<Value> {
        let (text, scalar) = match node {
            Node::Text(text) | Node::Number(text) => (text.as_ref(), true),
            Node::Bool(_) => ("bool", true),
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

    fn int_or_string(&mut self, node: Node<'_>, place: &Place<'_>) -> Option<Value> {
        match node {
            Node::Text(text) => Some(Value::String(text.into_owned())),
            Node::Number(text) => match whole(&text, 32, Tongue::Json) {
                Some(value) => Some(Value::from(value)),
                None => {
                    self.self_read_mismatch(&Node::Number(text), "int32", place);
                    None
                }
            },
            node => {
                self.self_read_mismatch(&node, "int32", place);
                None
            }
        }
    }

    /// A map, its keys sorted as upstream prints them.
    fn map(
        &mut self,
        entries: Vec<(std::borrow::Cow<'_, str>, Node<'_>)>,
        values: &Schema,
        place: &Place<'_>,
    ) -> Value {
        let mut shaped: BTreeMap<String, Value> = BTreeMap::new();
        for (key, node) in entries {
            let here = Place::Key { parent: place, key: &key };
            let value = match values.shape {
                // Maps of quantities are resource lists, which are kept to the thousandth.
                Shape::Quantity if node != Node::Null => self.quantity(&node, Quantity::in_resource_list),
                _ => self.value(node, values, None, &here),
            };
            let value = value.unwrap_or_else(|| zero(values));
            if shaped.contains_key(key.as_ref()) {
                self.strict("duplicate", place, &key);
            }
            shaped.insert(key.into_owned(), value);
        }
        Value::Object(shaped.into_iter().collect())
    }

    fn fields(
        &mut self,
        entries: Vec<(std::borrow::Cow<'_, str>, Node<'_>)>,
        schema: &Schema,
        fields: &Struct,
        place: &Place<'_>,
    ) -> Value {
        let owner = schema.short_name();
        let mut slots: Vec<Option<Value>> = vec![None; fields.fields.len()];
        let mut seen = vec![false; fields.fields.len()];
        let mut unknown = Vec::new();
        for (key, node) in entries {
            let Some(at) = fields.position(&key) else {
                self.strict("unknown", place, &key);
                if fields.open {
                    unknown.push((key.into_owned(), node.into_value()));
                }
                continue;
            };
            if seen[at] {
                self.strict("duplicate", place, &key);
            }
            let field = &fields.fields[at];
            let embedded = field.embedded.map(|(name, _)| name);
            let here = Place::Field { parent: place, owner, embedded, name: field.name };
            let given = node != Node::Null;
            if let Some(value) = self.value(node, field.link.get(), field.go.as_deref(), &here) {
                overlay(&mut slots[at], value);
            } else if !given && !matches!(field.zero, Zero::Omitted) {
                slots[at] = None;
            }
            seen[at] = true;
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
    let mut map = Map::with_capacity(slots.len().min(16));
    for (field, slot) in fields.fields.iter().zip(slots) {
        let value = match slot {
            Some(value) if field.zero == Zero::Omitted && is_zero(&value) => continue,
            Some(value)
                if field.zero == Zero::Kept && is_empty_collection(&value, &field.link.get().shape) =>
            {
                continue;
            }
            Some(value) => value,
            None if field.zero == Zero::Printed => zero(field.link.get()),
            None => continue,
        };
        map.insert(field.name.to_owned(), value);
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

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

/// An integer of that many bits. JSON's `80.0` is none, but an untyped tree no longer knows how it was spelled.
fn whole(text: &str, bits: u8, tongue: Tongue) -> Option<i64> {
    let value = match text.parse::<i64>() {
        Ok(value) => value,
        #[allow(clippy::cast_possible_truncation)]
        Err(_) if tongue == Tongue::Unstructured => {
            text.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64)?
        }
        Err(_) => return None,
    };
    (bits == 64 || i32::try_from(value).is_ok()).then_some(value)
}

/// The reflect kind and type of a value in one of upstream's untyped maps.
fn untyped(node: &Node<'_>) -> (&'static str, &'static str) {
    match node {
        Node::Null => ("invalid", "<nil>"),
        Node::Bool(_) => ("bool", "bool"),
        Node::Number(text) if text.parse::<i64>().is_ok() => ("int64", "int64"),
        Node::Number(_) => ("float64", "float64"),
        Node::Text(_) => ("string", "string"),
        Node::List(_) => ("slice", "[]interface {}"),
        Node::Map(_) => ("map", "map[string]interface {}"),
    }
}
