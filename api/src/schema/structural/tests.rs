//! What a structural schema drops, fills in and refuses.

use serde_json::{Value, json};

use super::validate::MOST_CHECKS;
use super::{fill_in, read, validate, validate_status};
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
    validate(&value, None, &schema, &mut errors);
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

/// What is said of `spec.x`, whose schema this is.
fn said(schema: &Value, value: &Value) -> Vec<String> {
    let (_, _, errors) = pass(&json!({ "x": schema }), &json!({ "x": value }));
    errors.0.iter().map(ToString::to_string).collect()
}

/// Nearly all of these are answers of a real API server.
#[test]
fn what_breaks_a_rule_is_refused_in_upstreams_words() {
    let text = |rule: Value| {
        let mut schema = rule;
        schema["type"] = json!("string");
        schema
    };
    let pair = json!({"a": {"type": "string"}, "b": {"type": "string"}});
    let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["p", "q"], "items": {
        "type": "object", "required": ["p"], "properties": {"p": {"type": "integer"}, "q": {"type": "string", "default": "TCP"}}}});
    let whole = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"});
    let wrong = |wanted: &str, found: &str| {
        format!("spec.x: Invalid value: {found:?}: spec.x in body must be of type {wanted}: {found:?}")
    };
    let x = |what: &str| vec![format!("spec.x{what}")];
    let cases: Vec<(Value, Value, Vec<String>)> = vec![
        (json!({"type": "integer"}), json!("5"), vec![wrong("integer", "string")]),
        (json!({"type": "boolean"}), json!("true"), vec![wrong("boolean", "string")]),
        (json!({"type": "number"}), json!("1"), vec![wrong("number", "string")]),
        (text(json!({})), json!({}), vec![wrong("string", "object")]),
        (json!({"type": "object", "additionalProperties": {"type": "string"}}), json!([]), vec![wrong("object", "array")]),
        (json!({"type": "array", "items": {"type": "string"}}), json!({}), vec![wrong("array", "object")]),
        (json!({"x-kubernetes-int-or-string": true}), json!(true), vec![wrong("integer,string", "boolean")]),
        (json!({"x-kubernetes-int-or-string": true}), json!(1.5), vec![wrong("integer,string", "number")]),
        (
            json!({"type": "integer"}),
            json!(1.5),
            vec![
                wrong("integer", "number"),
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.x".into(),
            ],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(1_i64 << 40),
            vec!["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.x".into()],
        ),
        (text(json!({"nullable": true})), json!(5), vec![wrong("string", "integer")]),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"k": "v"}),
            x(".k: Invalid value: \"string\": spec.x.k in body must be of type integer: \"string\""),
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}}),
            json!([{"a": 1}, {"a": "x"}]),
            x("[1].a: Invalid value: \"string\": spec.x[1].a in body must be of type integer: \"string\""),
        ),
        (
            json!({"type": "integer", "minimum": 2}),
            json!(1),
            x(": Invalid value: 1: spec.x in body should be greater than or equal to 2"),
        ),
        (
            json!({"type": "number", "minimum": 0.5}),
            json!(0.25),
            x(": Invalid value: 0.25: spec.x in body should be greater than or equal to 0.5"),
        ),
        (
            json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}),
            json!(1),
            x(": Invalid value: 1: spec.x in body should be greater than 1"),
        ),
        (
            json!({"type": "integer", "maximum": 2}),
            json!(3),
            x(": Invalid value: 3: spec.x in body should be less than or equal to 2"),
        ),
        (
            json!({"type": "integer", "maximum": 2, "exclusiveMaximum": true}),
            json!(2),
            x(": Invalid value: 2: spec.x in body should be less than 2"),
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            x(": Invalid value: 7: spec.x in body should be a multiple of 5"),
        ),
        (text(json!({"pattern": "b"})), json!("acd"), x(": Invalid value: \"acd\": spec.x in body should match 'b'")),
        (
            text(json!({"minLength": 2})),
            json!("é"),
            x(": Invalid value: \"é\": spec.x in body should be at least 2 chars long"),
        ),
        (text(json!({"maxLength": 4})), json!("abcde"), x(": Too long: may not be more than 4 bytes")),
        (
            text(json!({"format": "date-time"})),
            json!("yesterday"),
            vec![wrong("date-time", "yesterday")],
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            x(": Unsupported value: 3: supported values: \"1\", \"2\""),
        ),
        (
            text(json!({"enum": ["only"]})),
            json!("c"),
            x(": Unsupported value: \"c\": supported values: \"only\""),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            x(": Invalid value: 0: spec.x in body should have at least 1 items"),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            x(": Too many: 2: must have at most 1 item"),
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            json!([null]),
            x("[0]: Invalid value: \"null\": spec.x[0] in body must be of type integer: \"null\""),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}),
            json!({}),
            x(": Invalid value: 0: spec.x in body should have at least 1 properties"),
        ),
        (
            json!({"type": "object", "properties": pair, "required": ["a", "b"]}),
            json!({}),
            vec!["spec.x.a: Required value".into(), "spec.x.b: Required value".into()],
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"}),
            json!([1, 1]),
            x("[1]: Duplicate value: 1"),
        ),
        (keyed, json!([{"p": 1}, {"p": 1, "q": "TCP"}]), x("[1]: Duplicate value: {\"p\":1,\"q\":\"TCP\"}")),
        (
            whole.clone(),
            json!({"spec": 1}),
            vec!["spec.x.apiVersion: Required value".into(), "spec.x.kind: Required value".into()],
        ),
        (
            json!({"type": "object", "properties": pair, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.x\" must validate at least one schema (anyOf)".into(),
                "spec.x.a: Required value".into(),
            ],
        ),
        (
            text(json!({"not": {"enum": ["x"]}})),
            json!("x"),
            vec!["<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)".into()],
        ),
        // Which alternative comes furthest is what upstream's counting makes of it.
        (
            json!({"type": "object", "properties": pair, "oneOf": [
                {"required": ["a"]}, {"properties": {"b": {"minLength": 3}}, "required": ["b"]}]}),
            json!({"b": "x"}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found none valid".into(),
                "spec.x.b: Invalid value: \"x\": spec.x.b in body should be at least 3 chars long".into(),
            ],
        ),
        (
            json!({"type": "object", "properties": pair, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": "1", "b": "2"}),
            vec!["<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives".into()],
        ),
        (
            text(json!({"allOf": [{"minLength": 3}, {"pattern": "^b"}]})),
            json!("a"),
            vec![
                "spec.x: Invalid value: \"a\": spec.x in body should be at least 3 chars long".into(),
                "spec.x: Invalid value: \"a\": spec.x in body should match '^b'".into(),
                "<nil>: Invalid value: \"\": \"spec.x\" must validate all the schemas (allOf). None validated".into(),
            ],
        ),
        (
            text(json!({"allOf": [{"minLength": 1}, {"pattern": "^b"}]})),
            json!("a"),
            vec![
                "spec.x: Invalid value: \"a\": spec.x in body should match '^b'".into(),
                "<nil>: Invalid value: \"\": \"spec.x\" must validate all the schemas (allOf)".into(),
            ],
        ),
        (either.clone(), json!("50%"), vec![]),
        (either.clone(), json!(50), vec![]),
        (either, json!("x"), x(": Invalid value: \"x\": spec.x in body should match '^[0-9]+%?$'")),
        (whole, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "n"}, "any": 1}), vec![]),
        (json!({"x-kubernetes-preserve-unknown-fields": true}), json!({"a": [1, "b"]}), vec![]),
        (text(json!({"nullable": true})), json!(null), vec![]),
        (text(json!({"format": "nobody-checks-this"})), json!("x"), vec![]),
    ];
    for (schema, value, expected) in cases {
        assert_eq!(said(&schema, &value), expected, "case: {schema} {value}");
    }
}

#[test]
fn a_schema_may_ask_something_of_names() {
    let schema = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}});
    let schema = read("com.example.v1.Widget", &schema).expect("a good schema");
    let said = |name: &str| {
        let mut errors = Errors::new();
        validate(&json!({"metadata": {"name": name}}), None, &schema, &mut errors);
        errors.0.first().map(ToString::to_string)
    };
    assert_eq!(said("abc"), None);
    assert_eq!(said("long-name").as_deref(), Some("metadata.name: Too long: may not be more than 3 bytes"));
}

#[test]
fn what_an_update_leaves_alone_may_stay() {
    let item = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "string"}, "v": {"type": "integer", "maximum": 5}}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "integer", "maximum": 5}, "b": {"type": "string"},
        "m": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 5}},
        "l": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
        "s": {"type": "array", "items": {"type": "integer", "maximum": 5}}}}}});
    let schema = read("com.example.v1.Widget", &schema).expect("a good schema");
    let old = json!({"spec": {"a": 9, "b": "x", "m": {"k": 9}, "l": [{"n": "a", "v": 9}, {"n": "b", "v": 9}], "s": [9, 8]}});
    let cases = [
        ("nothing of them", json!({"b": "y"}), vec![]),
        ("the value", json!({"a": 8}), vec!["spec.a"]),
        ("an entry", json!({"m": {"k": 9, "l": 8}}), vec!["spec.m.l"]),
        ("an item", json!({"l": [{"n": "b", "v": 8}, {"n": "a", "v": 9}]}), vec!["spec.l[0].v"]),
        ("a list that is one value", json!({"s": [9, 7]}), vec!["spec.s[0]", "spec.s[1]"]),
    ];
    for (name, change, expected) in cases {
        let mut new = old.clone();
        new["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut errors = Errors::new();
        validate(&new, Some(&old), &schema, &mut errors);
        let fields: Vec<&str> = errors.0.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, expected, "case: {name} changes");
    }
}

/// Upstream's texts name what is below the status, its causes the whole path.
#[test]
fn a_status_is_looked_at_alone() {
    let part = json!({"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]});
    let schema = json!({"type": "object", "properties": {"spec": part, "status": part}});
    let schema = read("com.example.v1.Widget", &schema).expect("a good schema");
    let mut errors = Errors::new();
    validate_status(&json!({"spec": {}, "status": {"p": 5}}), &json!({}), &schema, &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["status.p: Invalid value: \"integer\": p in body must be of type string: \"integer\""]
    );
}

/// A schema that asks every value many things has a limit, and says so.
#[test]
fn what_a_schema_may_ask_is_bounded() {
    let alternatives: Vec<Value> = (0..100).map(|i| json!({"minLength": 100 - i})).collect();
    let schema = json!({"type": "array", "items": {"type": "string", "anyOf": alternatives}});
    assert_eq!(said(&schema, &json!(vec!["x"; 50])), [""; 0]);
    let over = format!("<nil>: Too many: an object may take at most {MOST_CHECKS} checks against its schema");
    assert_eq!(said(&schema, &json!(vec!["x"; 1000])), [over]);
}

#[test]
fn a_schema_that_cannot_hold_is_refused() {
    let broken = |schema: Value| {
        let schema = json!({"type": "object", "properties": {"x": schema}});
        read("com.example.v1.Widget", &schema).expect_err("a fault")
    };
    let deep = (0..100).fold(json!({"minLength": 1}), |inner, _| json!({"not": inner}));
    let cases = [
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "[x].uniqueItems: uniqueItems cannot be set",
        ),
        (json!({"type": "string", "anyOf": [{"pattern": "("}]}), "[x].anyOf[0].pattern: "),
        (json!({"type": "string", "oneOf": [5]}), "[x].oneOf[0]: must be a schema"),
        (json!({"type": "string", "allOf": [{"default": "a"}]}), "[x].allOf[0].default: must be undefined"),
        (json!({"type": "string", "not": deep}), "[x].not.not"),
    ];
    for (schema, expected) in cases {
        let found = broken(schema);
        assert!(found.contains(expected), "{found} does not say {expected}");
    }
}
