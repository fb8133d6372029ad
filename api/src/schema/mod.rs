//! The shape of every type, told once: `data/schemas.jsonl` (OpenAPI) and `data/types.txt` (order of fields, protobuf
//! numbers, which zero values are kept). Decoding, printing, patches, apply and OpenAPI all read it.
//!
//! A built-in type is parsed when it is first asked for and lives as long as the process. A type that is defined at run time
//! is held by its kind's row ([`SchemaRef`]) and goes with it.

mod build;
mod registered;
pub mod structural;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub use registered::{internal_package, is_registered};

/// The shape of one type, or of one field.
#[derive(Debug)]
pub struct Schema {
    /// The type's name, such as `io.k8s.api.core.v1.Pod`; empty for a shape that has none.
    pub name: Cow<'static, str>,
    /// What Go calls it in its errors: `v1.PodSpec`, `[]string`.
    pub go: String,
    /// What values may look like.
    pub shape: Shape,
    /// What a schema that was defined at run time asks beside the shape; built-in types have rules in code.
    pub rules: Option<Box<structural::Rules>>,
}

/// What a value may look like.
#[derive(Debug)]
pub enum Shape {
    /// Any JSON: kept as it is.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 or 64 bits.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// A number that may have a fraction.
    Number,
    /// A string.
    Text(Text),
    /// A quantity: a string or a number, kept in canonical form.
    Quantity,
    /// A number or a string, such as a port.
    IntOrString,
    /// A list.
    List {
        /// The shape of its items.
        items: Link,
        /// How two lists are merged.
        kind: ListKind,
    },
    /// A map from strings to values of one shape.
    Map {
        /// The shape of its values.
        values: Link,
    },
    /// A struct: named fields.
    Struct(Struct),
}

/// What a string holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Anything.
    Plain,
    /// Bytes in base64.
    Bytes,
    /// A time, to the second.
    Time,
    /// A time with six fraction digits.
    MicroTime,
}

/// How lists are merged: `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// As a whole.
    Atomic,
    /// As a set of scalars.
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// Fields in the order in which Go declares (and upstream prints) them.
#[derive(Debug)]
pub struct Struct {
    /// The fields.
    pub fields: Vec<Field>,
    /// Indexes into `fields`, sorted by name.
    by_name: Vec<u16>,
    /// Whether the whole is one value to server-side apply (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether unknown fields are kept.
    pub open: bool,
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: Cow<'static, str>,
    /// Its shape.
    pub link: Link,
    /// What becomes of its zero value.
    pub zero: Zero,
    /// Its number in protobuf; 0 if it has none.
    pub number: u32,
    /// The structs that Go and protobuf embed it in, such as `VolumeSource`, from the outermost to the innermost.
    pub embedded: Vec<Embedded>,
    /// What Go calls its type where it has a name of its own, such as `v1.PodPhase`.
    pub go: Option<String>,
    /// How strategic merge patch treats it.
    pub patch: Strategy,
    /// The default that the schema declares.
    pub default: Option<Value>,
    /// Whether it must be there.
    pub required: bool,
    /// Whether server-side apply takes it as one value, or field by field, against what its type says.
    pub atomic: Option<bool>,
}

/// A struct inside another whose fields JSON does not nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// `ProbeHandler`.
    pub name: &'static str,
    /// Its number in protobuf.
    pub number: u32,
}

/// What becomes of a field's zero value when the object is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// A pointer or a collection: kept if given, but for empty collections.
    Kept,
    /// A collection that is kept if given, even an empty one.
    Given,
    /// Left out.
    Omitted,
    /// Printed, even if it was not given.
    Printed,
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// Lists are merged, by `key` if there is one, else as a set.
    pub merge: bool,
    /// Maps drop the keys that `$retainKeys` does not name.
    pub retain_keys: bool,
    /// Maps are replaced.
    pub replace: bool,
    /// The field that tells items apart.
    pub key: Option<&'static str>,
}

/// A shape that is part of another: there already, or named and looked up when it is first needed.
#[derive(Debug)]
pub enum Link {
    /// Told in place.
    Here(Box<Schema>),
    /// A type of its own.
    Named(&'static str, OnceLock<&'static Schema>),
}

/// What an unknown name, or a schema that says nothing, allows: anything.
pub static ANYTHING: Schema =
    Schema { name: Cow::Borrowed(""), go: String::new(), shape: Shape::Any, rules: None };

/// The schema that a kind's row holds.
#[derive(Clone, Debug)]
pub enum SchemaRef {
    /// A built-in type, by its name.
    Named(&'static str),
    /// A type that was defined at run time.
    Inline {
        /// What it was read into.
        schema: Arc<Schema>,
        /// How it was written.
        document: Arc<Value>,
    },
}

impl SchemaRef {
    /// The schema itself; of a name that is no type's, one that allows anything.
    pub fn get(&self) -> &Schema {
        match self {
            SchemaRef::Named(name) => Schema::of(name).unwrap_or(&ANYTHING),
            SchemaRef::Inline { schema, .. } => schema,
        }
    }

    /// The name of the type.
    pub fn name(&self) -> &str {
        match self {
            SchemaRef::Named(name) => name,
            SchemaRef::Inline { schema, .. } => &schema.name,
        }
    }
}

impl Link {
    /// The shape.
    pub fn get(&self) -> &Schema {
        match self {
            Link::Here(schema) => schema,
            Link::Named(name, cell) => cell.get_or_init(|| Schema::of(name).unwrap_or(&ANYTHING)),
        }
    }
}

impl Struct {
    fn new(fields: Vec<Field>, atomic: bool, open: bool) -> Struct {
        let mut by_name: Vec<u16> = (0..u16::try_from(fields.len()).unwrap_or(u16::MAX)).collect();
        by_name.sort_by(|&a, &b| fields[usize::from(a)].name.cmp(&fields[usize::from(b)].name));
        Struct { fields, by_name, atomic, open }
    }

    /// The place of the field `name`.
    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self.by_name.binary_search_by(|&i| (*self.fields[usize::from(i)].name).cmp(name)).ok()?;
        Some(usize::from(self.by_name[found]))
    }

    /// The field `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }
}

impl Schema {
    /// The type of this name.
    pub fn of(name: &str) -> Option<&'static Schema> {
        let entries = build::entries();
        let at = entries.binary_search_by_key(&name, |entry| entry.name).ok()?;
        Some(entries[at].schema())
    }

    /// The OpenAPI v3 schema of this name, as text.
    pub fn text(name: &str) -> Option<&'static str> {
        let entries = build::entries();
        let at = entries.binary_search_by_key(&name, |entry| entry.name).ok()?;
        Some(entries[at].text)
    }

    /// The names of all types.
    pub fn names() -> impl Iterator<Item = &'static str> {
        build::entries().iter().map(|entry| entry.name)
    }

    /// The fields, if this is a struct.
    pub fn fields(&self) -> Option<&Struct> {
        match &self.shape {
            Shape::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// The shape of the field `name`, of any key of a map, or nothing.
    pub fn child(&self, name: &str) -> Option<&Schema> {
        match &self.shape {
            Shape::Struct(fields) => fields.field(name).map(|f| f.link.get()),
            Shape::Map { values } => Some(values.get()),
            Shape::Any => Some(&ANYTHING),
            _ => None,
        }
    }

    /// The shape of a list's items.
    pub fn items(&self) -> Option<&Schema> {
        match &self.shape {
            Shape::List { items, .. } => Some(items.get()),
            Shape::Any => Some(&ANYTHING),
            _ => None,
        }
    }

    /// The type's name without its package: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all types that a property of a type refers to.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str().filter(|_| key == "$ref") {
                        Some(target) => found.push(target.rsplit('/').next().unwrap().to_owned()),
                        None => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    /// What the data says, counted by other means than the code that reads it: as text.
    #[test]
    fn every_type_has_all_its_fields_and_every_reference_leads_somewhere() {
        let mut structs = 0;
        for name in Schema::names() {
            let json: Value = serde_json::from_str(Schema::text(name).unwrap()).unwrap();
            let mut targets = Vec::new();
            references(&json, &mut targets);
            for target in targets {
                assert!(Schema::of(&target).is_some(), "{name} -> {target}");
            }
            let Some(properties) = json.get("properties").and_then(Value::as_object) else { continue };
            // Times and the like have properties to nobody.
            let Some(fields) = Schema::of(name).unwrap().fields() else { continue };
            structs += 1;
            let mut expected: Vec<&str> = properties.keys().map(String::as_str).collect();
            let mut found: Vec<&str> = fields.fields.iter().map(|field| &*field.name).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}: types.txt names the fields of the schema");
            for field in &fields.fields {
                // What stands in for a type that is not there has no name.
                let refers = properties[&*field.name].get("$ref").is_some();
                let found = field.link.get();
                assert!(!refers || !found.name.is_empty(), "{name}.{}: its type is not found", field.name);
            }
        }
        assert!(structs > 400, "only {structs} structs");
    }

    /// A field without a number is dropped from protobuf bodies.
    #[test]
    fn every_field_has_a_number_of_its_own() {
        for name in Schema::names() {
            let Some(fields) = Schema::of(name).unwrap().fields() else { continue };
            let mut taken = std::collections::HashSet::new();
            for field in &fields.fields {
                // In protobuf they stand in the envelope.
                let of_envelope = matches!(&*field.name, "kind" | "apiVersion");
                assert!(field.number > 0 || of_envelope, "{name}.{} has no number", field.name);
                let path: Vec<u32> = field.embedded.iter().map(|e| e.number).chain([field.number]).collect();
                assert!(
                    field.number == 0 || taken.insert(path),
                    "{name}.{}: its number is taken",
                    field.name
                );
            }
        }
    }

    #[test]
    fn a_schema_tells_what_its_readers_ask() {
        let pod = Schema::of("io.k8s.api.core.v1.PodSpec").unwrap().fields().unwrap();
        let containers = pod.field("containers").unwrap();
        assert_eq!(containers.patch, Strategy { merge: true, key: Some("name"), ..Strategy::default() });
        assert_eq!(containers.link.get().go, "[]v1.Container");
        let container = containers.link.get().items().unwrap();
        let ports = container.child("ports").unwrap();
        assert!(
            matches!(&ports.shape, Shape::List { kind: ListKind::Map(keys), .. } if *keys == ["containerPort", "protocol"])
        );
        let protocol = ports.items().unwrap().fields().unwrap().field("protocol").unwrap();
        assert_eq!(protocol.default, Some(Value::from("TCP")));
        assert_eq!(
            (pod.field("hostNetwork").unwrap().zero, pod.field("hostUsers").unwrap().zero),
            (Zero::Omitted, Zero::Kept)
        );
        let probe = Schema::of("io.k8s.api.core.v1.Probe").unwrap().fields().unwrap();
        assert_eq!(probe.field("exec").unwrap().embedded, [Embedded { name: "ProbeHandler", number: 1 }]);
        let rule = "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations";
        let rule = Schema::of(rule).unwrap().fields().unwrap();
        assert_eq!(
            rule.field("apiGroups").unwrap().embedded,
            [Embedded { name: "RuleWithOperations", number: 2 }, Embedded { name: "Rule", number: 2 }]
        );
        assert!(
            rule.field("resourceNames").unwrap().embedded.is_empty(),
            "behind it, the outer struct goes on"
        );
        assert_eq!(pod.field("restartPolicy").unwrap().go.as_deref(), Some("v1.RestartPolicy"));
    }
}
