use serde_json::json;

use super::*;
use crate::schema::Schema;

const LATER: &str = "2026-01-01T00:00:09Z";

fn target(name: &'static str) -> Target<'static> {
    let group = if name.contains(".apps.") { "apps" } else { "" };
    Target { group, version: "v1", kind: name.rsplit('.').next().unwrap(), schema: Schema::of(name).unwrap() }
}

fn map() -> Target<'static> {
    target("io.k8s.api.core.v1.ConfigMap")
}

fn writer(manager: &'static str) -> Writer<'static> {
    Writer { manager, subresource: "", now: "2026-01-01T00:00:00Z", ignored: &["status"] }
}

fn configured(
    target: &Target<'_>,
    manager: &'static str,
    live: Option<&Value>,
    force: bool,
    fields: Value,
) -> Result<Value, Status> {
    let mut config =
        json!({"apiVersion": target.api_version(), "kind": target.kind, "metadata": {"name": "x"}});
    crate::patch::merge(&mut config, fields);
    apply(target, &writer(manager), force, live, config.to_string().as_bytes(), FieldValidation::Warn)
        .map(|d| d.value)
}

fn owners(object: &Value) -> Vec<(String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |e: &Value, k: &str| e[k].as_str().unwrap_or("").to_owned();
    entries
        .iter()
        .map(|e| (format!("{} {}", text(e, "manager"), text(e, "operation")), e["fieldsV1"].to_string()))
        .collect()
}

fn owner(name: &str, fields: &str) -> (String, String) {
    (name.into(), fields.into())
}

#[test]
fn applying_merges_prunes_and_records() {
    let one = configured(&map(), "m1", None, false, json!({"data": {"a": "1", "b": "1"}})).unwrap();
    assert_eq!(owners(&one), [owner("m1 Apply", r#"{"f:data":{"f:a":{},"f:b":{}}}"#)]);
    // What it no longer names goes.
    let two = configured(&map(), "m1", Some(&one), false, json!({"data": {"a": "1"}})).unwrap();
    assert_eq!(two["data"], json!({"a": "1"}));
    // Another applier of the same value shares it, without a time, and first.
    let shared = configured(&map(), "m2", Some(&two), false, json!({"data": {"a": "1"}})).unwrap();
    assert_eq!(shared["metadata"]["managedFields"][0]["manager"], "m2");
    assert!(shared["metadata"]["managedFields"][0].get("time").is_none());
    let left = configured(&map(), "m1", Some(&shared), false, json!({})).unwrap();
    assert_eq!((left["data"].clone(), owners(&left).len()), (json!({"a": "1"}), 1));
    let none = configured(&map(), "m2", Some(&left), false, json!({})).unwrap();
    assert!(none.get("data").is_none() && none["metadata"].get("managedFields").is_none());
}

#[test]
fn conflicts_name_their_owners_and_yield_to_force() {
    let deployment = target("io.k8s.api.apps.v1.Deployment");
    let spec =
        json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let live = configured(&deployment, "m1", None, false, spec).unwrap();
    let other =
        json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let refused = configured(&deployment, "m2", Some(&live), false, other.clone()).unwrap_err();
    let expected = "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image";
    assert_eq!((refused.code, refused.message.as_str()), (409, expected));
    let taken = configured(&deployment, "m2", Some(&live), true, other).unwrap();
    let kept = r#"{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{}}}}}}}"#;
    assert_eq!(owners(&taken)[0], owner("m1 Apply", kept));
    let hand = Writer { subresource: "scale", now: LATER, ..writer("hand") };
    let mut scaled = taken.clone();
    scaled["spec"]["replicas"] = json!(7);
    let scaled = track_update(&deployment, &hand, Some(&taken), scaled);
    let refused =
        configured(&deployment, "m1", Some(&scaled), false, json!({"spec": {"replicas": 1}})).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"hand\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn updates_are_recorded_by_what_they_change() {
    let first = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "labels": {"l": "1"}}, "data": {"a": "1"}});
    let live = track_update(&map(), &writer("tool"), None, first);
    assert_eq!(
        owners(&live),
        [owner("tool Update", r#"{"f:data":{".":{},"f:a":{}},"f:metadata":{"f:labels":{".":{},"f:l":{}}}}"#)]
    );
    let mut next = live.clone();
    next["data"] = json!({"a": "2", "b": "1"});
    let next = track_update(&map(), &Writer { now: LATER, ..writer("u2") }, Some(&live), next);
    assert_eq!(owners(&next)[1], owner("u2 Update", r#"{"f:data":{"f:a":{},"f:b":{}}}"#));
    // A write that changes nothing takes nothing; a reset makes the record empty until the first apply.
    assert_eq!(owners(&track_update(&map(), &writer("idle"), Some(&next), next.clone())), owners(&next));
    let mut reset = next.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let reset = track_update(&map(), &writer("r"), Some(&next), reset);
    assert!(owners(&reset).is_empty());
    let applied = configured(&map(), "m1", Some(&reset), false, json!({"data": {"c": "1"}})).unwrap();
    assert_eq!(owners(&applied)[1].0, "before-first-apply Update");
}

#[test]
fn configurations_must_fit_the_schema() {
    let template = target("io.k8s.api.core.v1.PodTemplate");
    let pod = |container: Value| json!({"template": {"spec": {"containers": [container]}}});
    let cases = [
        (
            pod(json!({"name": 5})),
            ".template.spec.containers[name=5].name: expected string, got &value.valueUnstructured{Value:5}",
        ),
        (
            pod(json!({"name": "c", "stdin": "yes"})),
            ".template.spec.containers[name=\"c\"].stdin: expected boolean, got &{yes}",
        ),
        (
            pod(json!({"name": "c", "imagee": "z"})),
            ".template.spec.containers[name=\"c\"].imagee: field not declared in schema",
        ),
        (
            json!({"template": {"spec": {"containers": {"c": {}}}}}),
            ".template.spec.containers: expected list, got &{map[c:map[]]}",
        ),
        (
            pod(
                json!({"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}),
            ),
            ".template.spec.containers[name=\"c\"].ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]",
        ),
    ];
    for (fields, expected) in cases {
        let refused = configured(&template, "m1", None, false, fields).unwrap_err();
        let message = format!("failed to create typed patch object (/x; /v1, Kind=PodTemplate): {expected}");
        assert_eq!((refused.code, refused.message), (500, message));
    }
}

#[test]
fn lists_merge_by_key_in_the_configurations_order() {
    let template = target("io.k8s.api.core.v1.PodTemplate");
    let pod = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        json!({"template": {"spec": {"containers": list}}})
    };
    let names = |object: &Value| -> Vec<String> {
        let list = object["template"]["spec"]["containers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    let live = configured(&template, "m1", None, false, pod(&["a", "b"])).unwrap();
    let both = configured(&template, "m2", Some(&live), false, pod(&["c"])).unwrap();
    assert_eq!(names(&both), ["a", "b", "c"]);
    let swapped = configured(&template, "m1", Some(&both), false, pod(&["b", "a"])).unwrap();
    assert_eq!(names(&swapped), ["b", "c", "a"]);
    let fewer = configured(&template, "m1", Some(&swapped), false, pod(&["b"])).unwrap();
    assert_eq!(names(&fewer), ["b", "c"]);
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let last = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1"}}"#;
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "annotations": annotations}, "data": {"a": "1"}});
    let live = track_update(&map(), &writer("kubectl-client-side-apply"), None, object);
    let taken = configured(&map(), "kubectl", Some(&live), false, json!({"data": {"a": "2"}})).unwrap();
    assert_eq!(taken["data"]["a"], "2");
    assert!(
        taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .as_str()
            .unwrap()
            .contains(r#""a":"2""#)
    );
    assert_eq!(
        configured(&map(), "other", Some(&live), false, json!({"data": {"a": "2"}})).unwrap_err().code,
        409
    );
}
