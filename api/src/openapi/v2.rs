//! OpenAPI v2, for old clients: the same types and operations in the older format.

use serde_json::{Map, Value, json};

use super::operations;
use super::types::{REFERENCE, VERSION, inline};
use crate::kind::KindRef;
use crate::schema::Schema;

/// The document about these kinds, with every type there is.
pub(super) fn document(kinds: &[KindRef]) -> Value {
    let mut paths = Map::new();
    let mut done: Vec<(&str, &str)> = Vec::new();
    for kind in kinds {
        let group_version = (kind.group(), kind.version());
        if done.contains(&group_version) {
            continue;
        }
        done.push(group_version);
        let of_place: Vec<KindRef> =
            kinds.iter().filter(|k| (k.group(), k.version()) == group_version).cloned().collect();
        paths.extend(
            operations::paths(kind.group(), kind.version(), &of_place)
                .into_iter()
                .map(|(path, item)| (path, older_path(item))),
        );
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": definitions(kinds),
        "securityDefinitions": {
            "BearerToken": {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"},
        },
        "security": [{"BearerToken": []}],
    })
}

/// All types: those that are built in, and those of the kinds that were defined at run time.
pub(super) fn definitions(kinds: &[KindRef]) -> Map<String, Value> {
    let defined = kinds.iter().flat_map(inline).map(|(name, schema)| (name, older(schema)));
    Schema::names()
        .filter_map(|name| Some((name.to_owned(), older(serde_json::from_str(Schema::text(name)?).ok()?))))
        .chain(defined)
        .collect()
}

/// A schema without what v2 cannot say: defaults, and references beside other keys.
fn older(schema: Value) -> Value {
    match schema {
        Value::Object(mut map) => {
            if map.contains_key("oneOf") {
                map.shift_remove("oneOf");
                map.insert("type".into(), "string".into());
            }
            map.shift_remove("default");
            let reference = map.get("allOf").and_then(|all| all.get(0)?.get("$ref").cloned());
            if let Some(reference) = reference {
                map.shift_remove("allOf");
                map.insert("$ref".into(), reference);
            }
            let convert = |(key, value): (String, Value)| match value {
                Value::String(text) if key == "$ref" => {
                    (key, text.replace(REFERENCE, "#/definitions/").into())
                }
                Value::Object(fields) if key == "properties" => (
                    key,
                    Value::Object(fields.into_iter().map(|(name, field)| (name, older(field))).collect()),
                ),
                value => (key, older(value)),
            };
            Value::Object(map.into_iter().map(convert).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(older).collect()),
        other => other,
    }
}

/// The operations of one path, with types of content where v2 has them.
fn older_path(item: Value) -> Value {
    let Value::Object(methods) = item else { return item };
    let convert = |(method, value): (String, Value)| match value {
        Value::Object(operation) => (method, older_operation(operation)),
        parameters => (method, parameters),
    };
    Value::Object(methods.into_iter().map(convert).collect())
}

fn older_operation(mut operation: Map<String, Value>) -> Value {
    let body = operation.shift_remove("requestBody");
    let patch = operation.get("x-kubernetes-action").is_some_and(|action| action == "patch");
    let consumes = if patch {
        // In an order of their own, those that are there.
        let types = ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"];
        let content = body.as_ref().map(|body| &body["content"]);
        let types = types.into_iter().map(|name| format!("application/{name}"));
        types.filter(|name| content.is_some_and(|content| content.get(name).is_some())).collect()
    } else {
        json!(["*/*"])
    };
    let mut parameters =
        operation.shift_remove("parameters").and_then(|p| p.as_array().cloned()).unwrap_or_default();
    let content = body
        .as_ref()
        .and_then(|body| body.get("content")?.as_object()?.values().next()?.get("schema").cloned());
    if let Some(schema) = content {
        parameters
            .insert(0, json!({"name": "body", "in": "body", "required": true, "schema": older(schema)}));
    }
    let responses =
        operation.shift_remove("responses").and_then(|r| r.as_object().cloned()).unwrap_or_default();
    let plain = |(code, response): (String, Value)| {
        let schema = response
            .get("content")
            .and_then(|content| content.get("application/json")?.get("schema").cloned());
        let mut map = Map::from_iter([(
            "description".to_owned(),
            response.get("description").cloned().unwrap_or_default(),
        )]);
        if let Some(schema) = schema {
            map.insert("schema".into(), older(schema));
        }
        (code, Value::Object(map))
    };
    let responses: Map<String, Value> = responses.into_iter().map(plain).collect();
    operation.insert("consumes".into(), consumes);
    operation.insert(
        "produces".into(),
        json!(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]),
    );
    operation.insert("schemes".into(), json!(["https"]));
    operation.insert("parameters".into(), parameters.into());
    operation.insert("responses".into(), responses.into());
    Value::Object(operation)
}
