//! Server-side apply, and the record of who owns what.

use coracle_api::apply::{Writer, apply, keep_times, track_update};
use coracle_api::decode::{FieldValidation, Target};
use coracle_api::kinds::{CONFIG_MAP, POD};
use serde_json::{Map, Value, json};

use crate::measure::Growth;

const NOW: &str = "2026-01-01T00:00:00Z";

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: NOW, ignored: &["status"] }
}

fn map(count: usize, key: &str) -> Value {
    let data: Map<String, Value> = (0..count).map(|i| (format!("{key}{i}"), json!("v"))).collect();
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": data})
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec})
}

fn list(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

fn applied(manager: &str, live: Option<&Value>, config: &Value, force: bool) -> Option<Value> {
    let kind = if config["kind"] == "Pod" { &POD } else { &CONFIG_MAP };
    let body = config.to_string();
    let outcome =
        apply(&Target::of(kind), &writer(manager), force, live, body.as_bytes(), FieldValidation::Warn);
    outcome.ok().map(|decoded| decoded.value)
}

/// So many managers that have each updated one field.
fn managed(count: usize, operation: &str) -> Value {
    let mut object = map(count, "k");
    object["metadata"]["managedFields"] = list(count, |i| {
        json!({"manager": format!("m{i}"), "operation": operation, "apiVersion": "v1", "time": NOW, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {format!("f:k{i}"): {}}}})
    });
    object
}

#[test]
fn applying() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> (Option<Value>, Value)| {
        for force in [false, true] {
            growth.of(
                &format!("{name}, force {force}"),
                size,
                make,
                |(live, config): &(Option<Value>, Value)| applied("m", live.as_ref(), config, force),
            );
        }
    };
    let first = |config: &Value| applied("m", None, config, false);
    let named = |n: usize, key: &str| list(n, |i| json!({"name": format!("{key}{i}"), "image": "i"}));
    case("a new map", 128, &|n| (None, map(n, "k")));
    case("a new list", 64, &|n| (None, pod(json!({"containers": named(n, "c")}))));
    case("the same again", 64, &|n| (first(&map(n, "k")), map(n, "k")));
    case("other keys", 64, &|n| (first(&map(n, "k")), map(n, "l")));
    case("other items", 32, &|n| {
        (first(&pod(json!({"containers": named(n, "c")}))), pod(json!({"containers": named(n, "d")})))
    });
    case("items backwards", 32, &|n| {
        let backwards = list(n, |i| json!({"name": format!("c{}", n - i), "image": "j"}));
        (first(&pod(json!({"containers": named(n, "c")}))), pod(json!({ "containers": backwards })))
    });
    case("equal items", 64, &|n| (None, pod(json!({"containers": list(n, |_| json!({"name": "c"}))}))));
    case("a list that is a set", 64, &|n| {
        let mut object = map(0, "k");
        object["metadata"]["finalizers"] = list(n, |i| json!(format!("e/{i}")));
        (applied("other", None, &object, false), object)
    });
    case("conflicts", 64, &|n| {
        let mut other = map(n, "k");
        other["data"].as_object_mut().unwrap().values_mut().for_each(|value| *value = json!("w"));
        (
            first(&map(n, "k")).map(|mut live| {
                live["metadata"]["managedFields"][0]["manager"] = json!("other");
                live
            }),
            other,
        )
    });
    case("conflicts below a long name", 32, &|n| {
        let config = |image: &str| {
            let env = list(n, |i| json!({"name": format!("E{i}"), "value": image}));
            pod(json!({"containers": [{"name": "c".repeat(10 * n), "env": env}]}))
        };
        (applied("other", None, &config("i"), false), config("j"))
    });
    case("faults", 128, &|n| (None, pod(json!({"containers": list(n, |i| json!({"name": i, "x": i}))}))));
    case("faults below a long name", 64, &|n| {
        let env = list(n, |i| json!({"name": i, "x": i}));
        (None, pod(json!({"containers": [{"name": "c".repeat(10 * n), "env": env}]})))
    });
    case("many appliers", 64, &|n| (Some(managed(n, "Apply")), map(n, "k")));
    case("many updaters", 64, &|n| (Some(managed(n, "Update")), map(n, "k")));
    case("kubectl's own record", 64, &|n| {
        let mut live = map(n, "k");
        live["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": map(n, "k").to_string()});
        (Some(live), map(n, "k"))
    });
    growth.finish(30);
}

#[test]
fn updates() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> (Value, Value)| {
        growth.of(name, size, make, |(old, new): &(Value, Value)| {
            let tracked = track_update(&Target::of(&CONFIG_MAP), &writer("m"), Some(old), new.clone());
            let mut again = tracked.clone();
            keep_times(&tracked, &mut again);
            again
        });
    };
    case("keys", 128, &|n| (map(n, "k"), map(n, "l")));
    case("one key of many managers", 64, &|n| {
        let (old, mut new) = (managed(n, "Update"), managed(n, "Update"));
        new["data"]["k0"] = json!("w");
        (old, new)
    });
    case("all keys of many managers", 64, &|n| (managed(n, "Update"), managed(2 * n, "Apply")));
    case("entries of one manager", 64, &|n| {
        let mut new = managed(n, "Update");
        for entry in new["metadata"]["managedFields"].as_array_mut().unwrap() {
            entry["manager"] = json!("m");
        }
        (map(n, "k"), new)
    });
    case("managers of many versions", 64, &|n| {
        let mut new = managed(n, "Update");
        for (i, entry) in new["metadata"]["managedFields"].as_array_mut().unwrap().iter_mut().enumerate() {
            entry["apiVersion"] = json!(format!("v{i}"));
        }
        (map(n, "k"), new)
    });
    growth.finish(5);
}
