//! The shape of every type, told once: `data/schemas.jsonl` (OpenAPI) and `data/types.txt` (order of fields, protobuf
//! numbers, which zero values are kept). Decoding, printing, patches, apply and OpenAPI all read it.
//!
//! A built-in type is parsed when it is first asked for and lives as long as the process. A type that is defined at run time
//! is held by its kind's row ([`SchemaRef`]) and goes with it.

mod build;
mod catalog;
mod registered;
mod shape;
pub mod structural;

use std::sync::Arc;

use serde_json::Value;

pub use registered::{internal_package, is_registered};
pub use shape::{
    ANYTHING, Embedded, Link, ListKind, PatchStrategy, Schema, Shape, Struct, StructField, Text, Zero,
};

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
            // Times and the like are read as scalars, whatever their schema says.
            let Some(fields) = Schema::of(name).unwrap().fields() else { continue };
            structs += 1;
            let mut expected: Vec<&str> = properties.keys().map(String::as_str).collect();
            let mut found: Vec<&str> = fields.fields.iter().map(|field| &*field.name).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}: types.txt names the fields of the schema");
            for field in &fields.fields {
                // The shape that stands in for a missing type has no name.
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
        assert_eq!(
            containers.patch,
            PatchStrategy { merge: true, key: Some("name"), ..PatchStrategy::default() }
        );
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
