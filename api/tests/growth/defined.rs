//! Kinds that are defined at run time: what their schemas ask of objects that somebody has made long.

use coracle_api::Kind;
use coracle_api::kinds::Definition;
use serde_json::{Map, Value, json};

use crate::measure::Growth;
use crate::validators::pass;

fn kind(spec: Value) -> Kind {
    let definition = Definition {
        group: "example.com".into(),
        version: "v1".into(),
        kind: "Widget".into(),
        plural: "widgets".into(),
        namespaced: true,
        status: true,
        schema: json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": spec}}}}),
        ..Definition::default()
    };
    definition.row().expect("a good definition")
}

fn widget(value: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}, "spec": {"x": value}})
}

fn list(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

fn map(count: usize, one: impl Fn(usize) -> Value) -> Value {
    Value::Object((0..count).map(|i| (format!("k{i}"), one(i))).collect::<Map<_, _>>())
}

#[test]
fn objects_of_defined_kinds() {
    let mut growth = Growth::default();
    let mut case = |name: &str, schema: Value, old: &dyn Fn(usize) -> Value, new: &dyn Fn(usize) -> Value| {
        let kind = kind(schema);
        let input = |n: usize| (widget(new(n)), widget(old(n)));
        growth.of(name, 64, input, |(new, old): &(Value, Value)| pass(&kind, new, old));
    };
    let mut alone = |name: &str, schema: Value, make: &dyn Fn(usize) -> Value| case(name, schema, make, make);
    let texts = |rules: Value| {
        let mut items = rules;
        items["type"] = json!("string");
        json!({"type": "array", "items": items})
    };
    alone("wrong types", texts(json!({})), &|n| list(n, |i| json!(i)));
    alone("nulls", texts(json!({"default": "a"})), &|n| list(n, |_| Value::Null));
    alone("patterns", texts(json!({"pattern": "^a*$"})), &|n| list(n, |i| json!(format!("a{i}"))));
    alone("formats", texts(json!({"format": "uuid"})), &|n| list(n, |i| json!(format!("a{i}"))));
    alone("choices", texts(json!({"enum": ["a", "b"]})), &|n| list(n, |i| json!(format!("a{i}"))));
    alone("a long text", json!({"type": "string", "format": "email", "pattern": "(a|b)*c"}), &|n| {
        json!("ab.".repeat(n))
    });
    alone("any of", texts(json!({"anyOf": [{"pattern": "^b"}, {"maxLength": 1}]})), &|n| {
        list(n, |i| json!(format!("a{i}")))
    });
    alone("one of", texts(json!({"oneOf": [{"pattern": "^a"}, {"minLength": 1}]})), &|n| {
        list(n, |i| json!(format!("a{i}")))
    });
    alone("all of, and not", texts(json!({"allOf": [{"maxLength": 1}], "not": {"pattern": "^a"}})), &|n| {
        list(n, |i| json!(format!("a{i}")))
    });
    let inner = json!({"properties": {"a": {"minLength": 3}}, "required": ["b"]});
    let items = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "anyOf": [inner, inner]});
    alone("any of objects", json!({"type": "array", "items": items}), &|n| list(n, |_| json!({"a": "x"})));
    let values = json!({"type": "object", "additionalProperties": {"type": "string"}, "not": {"additionalProperties": {"minLength": 1}}});
    alone("fields that are not declared", values, &|n| map(n, |_| json!("v")));
    let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    alone("anything", open, &|n| map(n, |i| json!({"a": [i]})));
    alone("a set", set.clone(), &|n| list(n, |i| json!(format!("v{}", i / 2))));
    case("a set before and after", set, &|n| list(n, |i| json!(format!("v{i}"))), &|n| {
        list(n, |i| json!(format!("w{i}")))
    });
    let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
        "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "n": {"type": "integer", "default": 1}}}});
    case("a list by key, backwards", keyed, &|n| list(n, |i| json!({"a": format!("v{i}")})), &|n| {
        list(n, |i| json!({"a": format!("v{}", n - i), "n": "x"}))
    });
    growth.finish(15);
}

#[test]
fn schemas() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> Value| {
        growth.of(name, size, make, |schema: &Value| kind(schema.clone()).schema().go.len());
    };
    case(
        "properties",
        64,
        &|n| json!({"type": "object", "properties": map(n, |_| json!({"type": "string"}))}),
    );
    case("alternatives", 64, &|n| json!({"type": "string", "anyOf": list(n, |i| json!({"minLength": i}))}));
    case("choices", 64, &|n| json!({"type": "string", "enum": list(n, |i| json!(format!("v{i}")))}));
    growth.finish(3);
}
