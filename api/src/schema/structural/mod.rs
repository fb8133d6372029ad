//! Structural schemas: OpenAPI v3 as definitions of kinds carry it inline, read once into a [`Schema`].
//!
//! Objects of such a kind are read leniently: a value of a wrong type stays where it is, to be refused by name when the object is
//! validated ([`validate`]). What is not declared is dropped, unless its place says `x-kubernetes-preserve-unknown-fields`.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema` (structural schemas, pruning, defaulting).

mod fill;
mod formats;
mod rules;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

pub use fill::fill_in;
pub use formats::Format;
pub use rules::{Demand, Rules};
pub use validate::{validate, validate_status};

use self::rules::DEPTH;
use super::{Link, ListKind, PatchStrategy, Schema, Shape, Struct, StructField, Text, Zero};

/// The type of every object's `metadata`.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Reads the schema of a whole object. `name` is what OpenAPI documents call the type.
///
/// # Errors
/// What is wrong with it, with its path.
pub fn read(name: &str, schema: &Value) -> Result<Arc<Schema>, String> {
    let mut read = node(schema, "openAPIV3Schema", DEPTH, Level::Root)?;
    if !matches!(read.shape, Shape::Struct(_)) {
        return Err("openAPIV3Schema.type: must be object".into());
    }
    if let (Some(metadata), Some(rules)) = (schema.pointer("/properties/metadata"), &mut read.rules) {
        let demand = Demand::read(metadata, "openAPIV3Schema.properties[metadata]", DEPTH)?;
        rules.metadata = Some(Box::new(demand));
    }
    read.name = name.to_owned().into();
    Ok(Arc::new(read))
}

/// Whose schema is read: objects have an envelope.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Below,
}

fn node(json: &Value, path: &str, depth: usize, level: Level) -> Result<Schema, String> {
    if depth == 0 {
        return Err(format!("{path}: a schema may be {DEPTH} levels deep at most"));
    }
    if !json.is_object() {
        return Err(format!("{path}: must be a schema"));
    }
    let mut rules = Rules::read(json, path, depth)?;
    if rules.embedded {
        rules.required.extend(["apiVersion", "kind"].map(str::to_owned));
        rules.required.dedup();
    }
    let kind = json["type"].as_str().unwrap_or_default();
    let preserves = json["x-kubernetes-preserve-unknown-fields"] == true;
    let child = |json: &Value, step: &str| node(json, &format!("{path}.{step}"), depth - 1, Level::Below);
    let shape = match kind {
        _ if rules.int_or_string => Shape::Any,
        "" if preserves => Shape::Any,
        "" => return Err(format!("{path}.type: must be set")),
        "boolean" => Shape::Boolean,
        "integer" => Shape::Integer { bits: if json["format"] == "int32" { 32 } else { 64 } },
        "number" => Shape::Number,
        "string" => Shape::Text(Text::Plain),
        "array" => {
            let items = json.get("items").ok_or_else(|| format!("{path}.items: must be set"))?;
            let items = Link::Here(Box::new(child(items, "items")?));
            Shape::List { items, kind: list_kind(json) }
        }
        "object" if json["additionalProperties"].is_object() => {
            if json.get("properties").is_some() {
                return Err(format!("{path}: properties and additionalProperties exclude each other"));
            }
            let values = child(&json["additionalProperties"], "additionalProperties")?;
            Shape::Map { values: Link::Here(Box::new(values)) }
        }
        "object" => {
            let embedded = level == Level::Root || rules.embedded;
            let mut fields = Vec::new();
            for (name, property) in json["properties"].as_object().into_iter().flatten() {
                if embedded && ENVELOPE.contains(&name.as_str()) {
                    continue;
                }
                let schema = child(property, &format!("properties[{name}]"))?;
                fields.push(field(name, Link::Here(Box::new(schema)), property));
            }
            if embedded {
                fields.splice(0..0, envelope());
            }
            let atomic = json["x-kubernetes-map-type"] == "atomic";
            let open = preserves || json["additionalProperties"] == true;
            Shape::Struct(Struct::new(fields, atomic, open))
        }
        other => return Err(format!("{path}.type: {other:?} is no type")),
    };
    let go = if kind.is_empty() { "any".to_owned() } else { kind.to_owned() };
    Ok(Schema { name: "".into(), go, shape, rules: Some(Box::new(rules)) })
}

/// What every object has beside the fields of its kind.
const ENVELOPE: [&str; 3] = ["apiVersion", "kind", "metadata"];

fn envelope() -> [StructField; 3] {
    let text = || Schema {
        name: "".into(),
        go: "string".into(),
        shape: Shape::Text(Text::Plain),
        rules: Some(Box::default()),
    };
    ENVELOPE.map(|name| match name {
        "metadata" => field(name, Link::Named(OBJECT_META, OnceLock::new()), &Value::Null),
        _ => field(name, Link::Here(Box::new(text())), &Value::Null),
    })
}

fn field(name: &str, link: Link, json: &Value) -> StructField {
    StructField {
        name: name.to_owned().into(),
        link,
        zero: Zero::Given,
        number: 0,
        embedded: Vec::new(),
        go: None,
        patch: PatchStrategy::default(),
        default: json.get("default").cloned(),
        required: false,
        atomic: None,
    }
}

fn list_kind(json: &Value) -> ListKind {
    match json["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = json["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListKind::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    }
}

/// The document of a type for OpenAPI, as the definition has it, with the envelope that every object has.
pub fn document(schema: &Value, group: &str, version: &str, kind: &str) -> Value {
    let mut document = schema.clone();
    if let Some(map) = document.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| Map::new().into());
        let reference = |name: &str| serde_json::json!({"$ref": format!("#/components/schemas/{name}")});
        properties["apiVersion"] = serde_json::json!({"type": "string"});
        properties["kind"] = serde_json::json!({"type": "string"});
        properties["metadata"] = reference(OBJECT_META);
        map.insert(
            "x-kubernetes-group-version-kind".into(),
            serde_json::json!([{"group": group, "version": version, "kind": kind}]),
        );
    }
    document
}
