use serde_json::json;

use super::*;
use crate::schema::Schema;

fn target(name: &'static str) -> Target<'static> {
    Target {
        group: "",
        version: "v1",
        kind: name.rsplit('.').next().unwrap(),
        schema: Schema::of(name).unwrap(),
    }
}

fn template(patch_body: &Value, spec: &Value) -> Result<Value, Status> {
    let current = json!({"kind": "PodTemplate", "apiVersion": "v1", "metadata": {"name": "x"}, "template": {"spec": spec}});
    let body = json!({"template": {"spec": patch_body}}).to_string();
    let target = target("io.k8s.api.core.v1.PodTemplate");
    let decoded = patch(Kind::Strategic, &target, &current, body.as_bytes(), FieldValidation::Warn)?;
    Ok(decoded.value["template"]["spec"].clone())
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn strategic_lists_merge_by_key_and_new_items_come_first() {
    let spec = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "d", "image": "1"}]});
    let cases = [
        (json!({"containers": [{"name": "z", "image": "2"}]}), vec!["z", "a", "b", "d"]),
        (json!({"containers": [{"name": "b", "$patch": "delete"}]}), vec!["a", "d"]),
        (json!({"containers": [{"$patch": "replace"}, {"name": "q"}]}), vec!["q"]),
        (
            json!({"$setElementOrder/containers": [{"name": "d"}, {"name": "a"}, {"name": "b"}]}),
            vec!["d", "a", "b"],
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "z"}, {"name": "b"}, {"name": "d"}], "containers": [{"name": "z"}]}),
            vec!["a", "z", "b", "d"],
        ),
    ];
    for (change, expected) in cases {
        let outcome = template(&change, &spec).unwrap();
        assert_eq!(names(&outcome["containers"]), expected, "case: {change}");
    }
}

#[test]
fn strategic_errors_are_upstreams() {
    let spec = json!({"containers": [{"name": "a"}], "nodeSelector": {"a": "1"}, "volumes": [{"name": "v", "emptyDir": {}}]});
    let cases = [
        (
            json!({"containers": [{"image": "n"}]}),
            500,
            "map: map[image:n] does not contain declared merge key: name",
        ),
        (
            json!({"nodeSelector": {"$patch": 5}}),
            500,
            "unknown patch type: %!s(int64=5) in map: map[$patch:5]",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"$setElementOrder/nope": []}),
            500,
            "unable to find api field in struct PodSpec for the json field \"nope\"",
        ),
        (json!({"$setElementOrder/containers": ["a"]}), 500, "value for key 0 is not a map"),
        (json!({"containers": ["a"]}), 500, "list element types are not identical: [[map[name:a]] [a]]"),
        (
            json!({"volumes": [{"name": "v", "$retainKeys": "name"}]}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"containers": {"a": 1}}),
            422,
            " \"\" is invalid: patch: Invalid value: \"map[template:map[spec:map[containers:map[a:1]]]]\": cannot restore slice from map",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b", "image": "n"}]}),
            500,
            "The order in patch list:\n[map[image:n name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ];
    for (change, code, message) in cases {
        let status = template(&change, &spec).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message), "case: {change}");
    }
}

#[test]
fn strategic_directives_on_maps_and_scalars() {
    let spec = json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {"a": "1", "b": "2"}});
    let change = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}], "nodeSelector": {"$patch": "replace", "c": "3"}});
    let outcome = template(&change, &spec).unwrap();
    assert_eq!(outcome["volumes"], json!([{"name": "v", "configMap": {"name": "m"}}]));
    assert_eq!(outcome["nodeSelector"], json!({"c": "3"}));
    let map = target("io.k8s.api.core.v1.ConfigMap");
    let current = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "finalizers": ["e/a", "e/b"]}});
    let body = br#"{"metadata": {"$deleteFromPrimitiveList/finalizers": ["e/a"], "finalizers": ["e/z"]}}"#;
    let patched = patch(Kind::Strategic, &map, &current, body, FieldValidation::Warn).unwrap().value;
    assert_eq!(patched["metadata"]["finalizers"], json!(["e/z", "e/b"]));
}

#[test]
fn json_patches_take_upstreams_liberties() {
    let document = json!({"data": {"a": "1"}, "list": ["x", "y"]});
    let good = [
        (json!([{"op": "replace", "path": "/data/zz", "value": "3"}]), json!({"a": "1", "zz": "3"})),
        (json!([{"op": "copy", "path": "/data/z", "from": "/data/q"}]), json!({"a": "1", "z": null})),
        (json!([{"op": "test", "path": "/data/zz", "value": null}]), json!({"a": "1"})),
        (json!([{"op": "add", "path": "/data/b"}]), json!({"a": "1", "b": null})),
        (
            json!([{"op": "replace", "path": "/list/01", "value": 1}, {"op": "remove", "path": "/list/-1"}]),
            json!({"a": "1"}),
        ),
        (json!([{"op": "add", "path": "/data/a~1b", "value": "~1"}]), json!({"a": "1", "a/b": "~1"})),
    ];
    for (text, expected) in good {
        let (operations, _) = json::operations(&text.to_string(), true).unwrap();
        let outcome = json::apply(document.clone(), operations).unwrap_or_else(|_| panic!("case: {text}"));
        assert_eq!(outcome["data"], expected, "case: {text}");
    }
    let bad = [
        json!([{"op": "remove", "path": "/data/q"}]),
        json!([{"op": "move", "path": "/data/z", "from": "/data/q"}]),
        json!([{"op": "ADD", "path": "/data/c", "value": "1"}]),
        json!([{"op": "add", "path": "/nope/a", "value": "1"}]),
        json!([{"op": "replace", "path": "/list/-", "value": "1"}]),
        json!([{"op": "remove", "path": ""}]),
        json!([null]),
    ];
    for text in bad {
        let (operations, _) = json::operations(&text.to_string(), true).unwrap();
        assert!(json::apply(document.clone(), operations).is_err(), "case: {text}");
    }
    // Copies that double a map, and moves that nest it ever deeper, come to an end.
    let doubling = Value::Array(
        (0..64).map(|i| json!({"op": "copy", "from": "/data", "path": format!("/data/{i}")})).collect(),
    );
    let nesting: Vec<Value> = (0..200)
        .flat_map(|_| {
            [
                json!({"op": "add", "path": "/n", "value": {}}),
                json!({"op": "move", "from": "/data", "path": "/n/d"}),
                json!({"op": "move", "from": "/n", "path": "/data"}),
            ]
        })
        .collect();
    // One long text is a single value, but as long each time that it is copied.
    let long = [
        vec![json!({"op": "add", "path": "/data/long", "value": "x".repeat(1 << 20)})],
        (0..4).map(|i| json!({"op": "copy", "from": "/data/long", "path": format!("/data/{i}")})).collect(),
    ];
    for text in [doubling, Value::Array(nesting), Value::Array(long.concat())] {
        let (operations, _) = json::operations(&text.to_string(), true).unwrap();
        assert!(json::apply(document.clone(), operations).is_err());
    }
    let many = Value::Array(vec![json!({"op": "test", "path": ""}); 10_001]);
    assert_eq!(json::operations(&many.to_string(), true).unwrap_err().code, 413);
}

#[test]
fn patched_objects_are_decoded_anew() {
    let map = target("io.k8s.api.core.v1.ConfigMap");
    let current =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"a": "1"}});
    let run = |body: &str, validation| patch(Kind::Merge, &map, &current, body.as_bytes(), validation);
    let warned =
        run(r#"{"nope":1,"metadata":{"odd":2},"data":{"a":"8","a":"9"}}"#, FieldValidation::Warn).unwrap();
    assert_eq!(
        warned.warnings,
        [r#"duplicate field "data.a""#, r#"unknown field "metadata.odd""#, r#"unknown field "nope""#]
    );
    assert_eq!(warned.value["data"]["a"], "9");
    let strict = run(r#"{"nope":1}"#, FieldValidation::Strict).unwrap_err();
    assert_eq!((strict.code, strict.details.unwrap().causes[0].field.as_str()), (422, "patch"));
    let kind = run(r#"{"kind":"ServiceAccount"}"#, FieldValidation::Warn).unwrap_err();
    assert!(
        kind.message.ends_with("converting (v1.ServiceAccount) to (core.ConfigMap): unknown conversion"),
        "{kind}"
    );
    assert_eq!(run("null", FieldValidation::Warn).unwrap_err().message, "Invalid JSON Patch");
}
