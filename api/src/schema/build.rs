//! From the two data files to [`Schema`]s.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::shape::{Embedded, Link, ListKind, PatchStrategy, Schema, Shape, Struct, StructField, Text, Zero};

static SCHEMAS: &str = include_str!("../../data/schemas.jsonl");
static TYPES: &str = include_str!("../../data/types.txt");

/// Where one type stands in the data files, and the type itself once somebody asked for it.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    order: &'static str,
    parsed: OnceLock<Schema>,
}

impl Entry {
    pub(super) fn schema(&'static self) -> &'static Schema {
        self.parsed.get_or_init(|| {
            let json: Value = serde_json::from_str(self.text).unwrap_or_default();
            build(self, &json)
        })
    }
}

/// All types, sorted by name. Finding the lines costs less than a millisecond; parsing waits until it is needed.
pub(super) fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let mut orders = TYPES.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).peekable();
        SCHEMAS
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, text)| {
                while orders.next_if(|(other, _)| *other < name).is_some() {}
                let order = orders.next_if(|(other, _)| *other == name).map_or("", |(_, order)| order);
                Entry { name, text, order, parsed: OnceLock::new() }
            })
            .collect()
    })
}

/// `io.k8s.api.core.v1.Pod` is `v1.Pod` to Go.
fn go_name(name: &str) -> String {
    let mut parts = name.rsplit('.');
    let (last, package) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    format!("{package}.{last}")
}

fn package(name: &str) -> &str {
    name.rsplit('.').nth(1).unwrap_or("v1")
}

/// The place of a word in a text that outlives it.
fn within(text: &'static str, word: &str) -> Option<&'static str> {
    let at = text.find(word)?;
    text.get(at..at + word.len())
}

fn build(entry: &'static Entry, json: &Value) -> Schema {
    let name = entry.name;
    let shape = match name.rsplit('.').next().unwrap_or("") {
        "Quantity" => Shape::Quantity,
        "IntOrString" => Shape::IntOrString,
        "MicroTime" => Shape::Text(Text::MicroTime),
        "Time" => Shape::Text(Text::Time),
        _ => match json.get("properties").and_then(Value::as_object) {
            Some(properties) => fields(entry, json, properties),
            None => shape(json),
        },
    };
    Schema { name: name.into(), go: go_name(name), shape, rules: None }
}

fn target(json: &Value) -> Option<&'static str> {
    let reference = json.get("$ref").or_else(|| json.get("allOf")?.get(0)?.get("$ref"))?.as_str()?;
    let name = reference.rsplit('/').next()?;
    let at = entries().binary_search_by_key(&name, |entry| entry.name).ok()?;
    Some(entries()[at].name)
}

/// The shape of a property, or of what is in a list or map.
fn link(json: &Value) -> Link {
    match target(json) {
        Some(name) => Link::Named(name, OnceLock::new()),
        None => {
            let shape = shape(json);
            Link::Here(Box::new(Schema { name: "".into(), go: describe(&shape), shape, rules: None }))
        }
    }
}

fn shape(json: &Value) -> Shape {
    let format = json.get("format").and_then(Value::as_str).unwrap_or("");
    match json.get("type").and_then(Value::as_str) {
        Some("boolean") => Shape::Boolean,
        Some("integer") => Shape::Integer { bits: if format == "int32" { 32 } else { 64 } },
        Some("number") => Shape::Number,
        Some("string") if format == "byte" => Shape::Text(Text::Bytes),
        Some("string") => Shape::Text(Text::Plain),
        Some("array") => {
            let items = json.get("items").map_or_else(|| link(&Value::Null), link);
            Shape::List { items, kind: list_kind(json) }
        }
        Some("object") if json.get("additionalProperties").is_some_and(Value::is_object) => {
            Shape::Map { values: link(&json["additionalProperties"]) }
        }
        _ => Shape::Any,
    }
}

fn list_kind(json: &Value) -> ListKind {
    match json.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = json.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    }
}

/// What Go calls a shape that has no name.
fn describe(shape: &Shape) -> String {
    let of = |link: &Link| match link {
        Link::Here(schema) => schema.go.clone(),
        Link::Named(name, _) => go_name(name),
    };
    match shape {
        Shape::Boolean => "bool".into(),
        Shape::Integer { bits } => format!("int{bits}"),
        Shape::Number => "float64".into(),
        Shape::Text(Text::Bytes) => "[]uint8".into(),
        Shape::Text(_) => "string".into(),
        Shape::List { items, .. } => format!("[]{}", of(items)),
        Shape::Map { values } => format!("map[string]{}", of(values)),
        _ => "interface {}".into(),
    }
}

fn fields(entry: &'static Entry, json: &Value, properties: &Map<String, Value>) -> Shape {
    let mut fields = Vec::with_capacity(properties.len());
    let required: Vec<&str> = json
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut embedded: Vec<Embedded> = Vec::new();
    for mut word in entry.order.split(' ').filter(|word| !word.is_empty()) {
        while let Some((outer, rest)) = word.split_once('{') {
            let (name, number) = outer.split_once('=').unwrap_or((outer, "0"));
            embedded.push(Embedded { name, number: number.parse().unwrap_or(0) });
            word = rest;
        }
        let plain = word.trim_end_matches('}');
        let (key, rest) = plain.split_once('=').unwrap_or((plain, ""));
        if let Some(property) = properties.get(key) {
            fields.push(field(entry, key, rest, property, embedded.clone(), required.contains(&key)));
        }
        let closed = word.len() - plain.len();
        embedded.truncate(embedded.len().saturating_sub(closed));
    }
    let atomic = json.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic");
    Shape::Struct(Struct::new(fields, atomic, false))
}

/// One word of `types.txt`, `NUMBER[:GoType][?|!|+]`, and the schema's property.
fn field(
    owner: &'static Entry,
    name: &'static str,
    word: &'static str,
    property: &Value,
    embedded: Vec<Embedded>,
    required: bool,
) -> StructField {
    let (word, zero) = match word.as_bytes().last() {
        Some(b'?') => (&word[..word.len() - 1], Zero::Omitted),
        Some(b'!') => (&word[..word.len() - 1], Zero::Printed),
        Some(b'+') => (&word[..word.len() - 1], Zero::Given),
        _ => (word, Zero::Kept),
    };
    let (number, go) = word.split_once(':').map_or((word, None), |(number, go)| (number, Some(go)));
    let go =
        go.map(|go| if go.contains('.') { go.to_owned() } else { format!("{}.{go}", package(owner.name)) });
    let strategy = property.get("x-kubernetes-patch-strategy").and_then(Value::as_str).unwrap_or("");
    let has = |word: &str| strategy.split(',').any(|part| part == word);
    let patch = PatchStrategy {
        merge: has("merge"),
        retain_keys: has("retainKeys"),
        replace: has("replace"),
        key: property
            .get("x-kubernetes-patch-merge-key")
            .and_then(Value::as_str)
            .and_then(|key| within(owner.text, key)),
    };
    StructField {
        name: name.into(),
        link: link(property),
        zero,
        number: number.parse().unwrap_or(0),
        embedded,
        go,
        patch,
        default: property.get("default").cloned(),
        required,
        atomic: property.get("x-kubernetes-map-type").and_then(Value::as_str).map(|kind| kind == "atomic"),
    }
}
