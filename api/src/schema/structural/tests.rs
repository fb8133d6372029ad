//! What a structural schema drops, fills in and refuses.

use serde_json::{Value, json};

use super::{fill_in, read, validate};
use crate::Errors;
use crate::decode::{FieldValidation, Format, Target, decode};

/// Reads a document as the server does: shaped, filled in, validated.
fn pass(properties: &Value, document: &Value) -> (Value, Vec<String>, Errors) {
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let schema = read("com.example.v1.Widget", &schema).expect("a good schema");
    let target = Target { group: "example.com", version: "v1", kind: "Widget", schema: &schema };
    let body = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": document});
    let body = body.to_string();
    let decoded = decode(&target, Format::Json, body.as_bytes(), FieldValidation::Warn).expect("readable");
    let mut value = decoded.value;
    fill_in(&mut value, &schema);
    let once = value.clone();
    fill_in(&mut value, &schema);
    assert_eq!(value, once, "filling in twice changes nothing");
    let mut errors = Errors::new();
    validate(&value, &schema, &mut errors);
    (value["spec"].clone(), decoded.warnings, errors)
}

#[test]
fn what_is_not_declared_is_dropped_and_what_is_absent_is_filled_in() {
    let properties = json!({
        "size": {"type": "integer", "default": 3},
        "color": {"type": "string", "nullable": true, "default": "red"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
        "port": {"x-kubernetes-int-or-string": true},
    });
    let document = json!({"size": null, "color": null, "open": {"a": {"b": null}}, "map": {"k": {}}, "list": [{}, {"n": 2, "x": 1}], "port": "web", "y": 1});
    let (value, warnings, errors) = pass(&properties, &document);
    let expected = json!({"size": 3, "color": null, "open": {"a": {"b": null}}, "map": {"k": {"n": 1}}, "list": [{"n": 1}, {"n": 2}], "port": "web"});
    assert_eq!(value, expected);
    assert_eq!(warnings, ["unknown field \"spec.list[1].x\"", "unknown field \"spec.y\""]);
    assert_eq!(errors, Errors::new());
}

#[test]
fn what_breaks_a_rule_is_refused_in_upstreams_words() {
    let properties = json!({
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2},
        "over": {"type": "number", "minimum": 1, "exclusiveMinimum": true},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}, "x-kubernetes-list-type": "set"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
            "items": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}},
        "port": {"x-kubernetes-int-or-string": true},
        "whole": {"type": "object", "x-kubernetes-embedded-resource": true},
    });
    let cases = [
        (
            json!({"size": "x"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            json!({"size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"size": 10}),
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (json!({"size": 3}), "spec.size: Invalid value: 3: spec.size in body should be a multiple of 2"),
        (json!({"over": 1}), "spec.over: Invalid value: 1: spec.over in body should be greater than 1"),
        (
            json!({"name": "ABC"}),
            "spec.name: Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            json!({"name": "a"}),
            "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long",
        ),
        (json!({"name": "abcde"}), "spec.name: Too long: may not be more than 4 bytes"),
        (
            json!({"color": "green"}),
            "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
        (json!({"list": []}), "spec.list: Invalid value: []: spec.list in body should have at least 1 items"),
        (json!({"list": [1, 2, 3]}), "spec.list: Too many: 3: must have at most 2 items"),
        (json!({"list": [1, 1]}), "spec.list[1]: Duplicate value: 1"),
        (
            json!({"list": [null]}),
            "spec.list[0]: Invalid value: \"null\": spec.list[0] in body must be of type integer: \"null\"",
        ),
        (json!({"ports": [{"n": 1}, {"n": 1}]}), "spec.ports[1]: Duplicate value: {\"n\":1}"),
        (json!({"ports": [{}]}), "spec.ports[0].n: Required value"),
        (
            json!({"port": 1.5}),
            "spec.port: Invalid value: \"number\": spec.port in body must be of type integer,string: \"number\"",
        ),
        (json!({"whole": {"kind": "A"}}), "spec.whole.apiVersion: Required value: must not be empty"),
    ];
    for (document, expected) in cases {
        let (_, _, errors) = pass(&properties, &document);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [expected], "case: {document}");
    }
}
