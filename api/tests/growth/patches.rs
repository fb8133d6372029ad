//! The three patches that change what is there.

use coracle_api::decode::{FieldValidation, Target};
use coracle_api::kinds::{CONFIG_MAP, DEPLOYMENT, POD};
use coracle_api::patch::{Kind, patch};
use serde_json::{Map, Value, json};

use crate::measure::Growth;

type Case = (Value, Value);

fn list(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

fn map(count: usize, value: impl Fn(usize) -> Value) -> Value {
    Value::Object((0..count).map(|i| (format!("k{i}"), value(i))).collect::<Map<_, _>>())
}

fn config_map(count: usize) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": map(count, |_| json!("v"))})
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}, "spec": spec})
}

fn patched(growth: &mut Growth, name: &str, form: Kind, size: usize, case: impl Fn(usize) -> Case) {
    let input = |n: usize| {
        let (current, change) = case(n);
        (current, change.to_string())
    };
    growth.of(&format!("{form:?} {name}"), size, input, |(current, change): &(Value, String)| {
        let kind = match current["kind"].as_str() {
            Some("Pod") => &POD,
            Some("Deployment") => &DEPLOYMENT,
            _ => &CONFIG_MAP,
        };
        patch(form, &Target::of(kind), current, change.as_bytes(), FieldValidation::Warn)
    });
}

#[test]
fn json_patches() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> Case| {
        patched(&mut growth, name, Kind::Json, size, make);
    };
    let groups = |n: usize| {
        pod(json!({"securityContext": {"supplementalGroups": list(n, |i| json!(i))}, "containers": []}))
    };
    let at = "/spec/securityContext/supplementalGroups";
    case("adds of keys", 256, &|n| {
        (config_map(0), list(n, |i| json!({"op": "add", "path": format!("/data/n{i}"), "value": "v"})))
    });
    case("removals of keys", 256, &|n| {
        (config_map(n), list(n, |i| json!({"op": "remove", "path": format!("/data/k{i}")})))
    });
    // These two do move every item each time, which is as quick as copying memory, up to a limit of their own.
    case("adds in front", 128, &|n| {
        (groups(n), list(n, |i| json!({"op": "add", "path": format!("{at}/0"), "value": i})))
    });
    case("removals in front", 128, &|n| {
        (groups(n), list(n, |_| json!({"op": "remove", "path": format!("{at}/0")})))
    });
    case("tests of everything", 32, &|n| {
        (config_map(n), list(n, |_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})))
    });
    case("tests of the whole", 32, &|n| {
        (config_map(n), list(n, |_| json!({"op": "test", "path": "", "value": 1})))
    });
    case("copies", 64, &|n| {
        (
            config_map(10),
            list(n, |i| json!({"op": "copy", "from": "/data/k1", "path": format!("/data/n{i}")})),
        )
    });
    case("copies of a map", 32, &|n| {
        (config_map(10), list(n, |_| json!({"op": "copy", "from": "/data", "path": "/binaryData"})))
    });
    case("moves", 64, &|n| {
        (
            config_map(n),
            list(n, |i| json!({"op": "move", "from": format!("/data/k{i}"), "path": format!("/data/n{i}")})),
        )
    });
    case("a long path", 256, &|n| {
        (config_map(1), json!([{"op": "add", "path": "/a".repeat(n), "value": 1}]))
    });
    case("unknown fields", 256, &|n| (config_map(1), json!([map(n, |i| json!(i))])));
    let mut repeated = |name: &str, fields: &'static [&'static str]| {
        let input = |n: usize| {
            let fields: Vec<String> =
                fields.iter().flat_map(|f| (0..n).map(move |_| format!("\"{f}\":\"/kind\""))).collect();
            (config_map(1), format!("[{{{}}}]", fields.join(",")))
        };
        growth.of(name, 256, input, |(current, text): &(Value, String)| {
            patch(Kind::Json, &Target::of(&CONFIG_MAP), current, text.as_bytes(), FieldValidation::Warn)
        });
    };
    repeated("one field of an operation", &["op"]);
    repeated("two fields of an operation", &["op", "path", "from"]);
    growth.finish(13);
}

#[test]
fn merge_patches() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> Case| {
        patched(&mut growth, name, Kind::Merge, size, make);
    };
    case("nulls", 256, &|n| (config_map(n), json!({"data": map(n, |_| Value::Null)})));
    case("values", 256, &|n| (config_map(n), json!({"data": map(n, |_| json!("w"))})));
    case("unknown fields", 256, &|n| (config_map(1), map(n, |i| json!(i))));
    case("wrong types", 256, &|n| (config_map(1), json!({"data": map(n, |i| json!(i))})));
    case("items below a long key", 64, &|n| {
        (config_map(1), json!({"k".repeat(n): list(n, |_| json!({"a": 1}))}))
    });
    growth.of(
        "repeated keys",
        256,
        |n| (config_map(1), format!("{{\"data\":{{{}\"k\":\"v\"}}}}", "\"k\":\"v\",".repeat(n))),
        |(current, text): &(Value, String)| {
            patch(Kind::Merge, &Target::of(&CONFIG_MAP), current, text.as_bytes(), FieldValidation::Warn)
        },
    );
    growth.finish(6);
}

#[test]
fn strategic_patches() {
    let mut growth = Growth::default();
    let mut case = |name: &str, size: usize, make: &dyn Fn(usize) -> Case| {
        patched(&mut growth, name, Kind::Strategic, size, make);
    };
    let named = |n: usize| list(n, |i| json!({"name": format!("c{i}")}));
    let containers = |n: usize| pod(json!({"containers": named(n)}));
    case("nulls", 256, &|n| (config_map(n), json!({"data": map(n, |_| Value::Null)})));
    case("values", 256, &|n| (config_map(n), json!({"data": map(n, |_| json!("w"))})));
    case("items", 64, &|n| (containers(n), json!({"spec": {"containers": named(n)}})));
    case("new items", 64, &|n| {
        (containers(n), json!({"spec": {"containers": list(n, |i| json!({"name": format!("d{i}")}))}}))
    });
    case("deletions", 64, &|n| {
        (
            containers(n),
            json!({"spec": {"containers": list(n, |i| json!({"name": format!("c{i}"), "$patch": "delete"}))}}),
        )
    });
    case("one deletion", 64, &|n| {
        (
            containers(n),
            json!({"spec": {"containers": list(n, |_| json!({"name": "c0", "$patch": "delete"}))}}),
        )
    });
    case("order", 64, &|n| {
        (containers(n), json!({"spec": {"$setElementOrder/containers": named(n), "containers": named(n)}}))
    });
    case("order backwards", 64, &|n| {
        let backwards = list(n, |i| json!({"name": format!("c{}", n - i)}));
        (containers(n), json!({"spec": {"$setElementOrder/containers": backwards}}))
    });
    case("orders", 256, &|n| {
        let orders: Map<String, Value> =
            (0..n).map(|i| (format!("$setElementOrder/k{i}"), json!([]))).collect();
        (config_map(1), json!({ "data": orders }))
    });
    case("keys to retain", 256, &|n| {
        (config_map(n), json!({"data": {"$retainKeys": list(n, |i| json!(format!("k{}", i / 2)))}}))
    });
    case("keys that are retained", 256, &|n| {
        let mut data = map(n, |_| json!("v"));
        data["$retainKeys"] = list(n, |i| json!(format!("k{i}")));
        (config_map(n), json!({ "data": data }))
    });
    case("deletions of texts", 256, &|n| {
        let mut current = config_map(0);
        current["metadata"]["finalizers"] = list(n, |i| json!(format!("e/{i}")));
        let gone = list(n, |i| json!(format!("e/{}", 2 * i)));
        (current, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": gone}}))
    });
    case("texts", 256, &|n| {
        let mut current = config_map(0);
        current["metadata"]["finalizers"] = list(n, |i| json!(format!("e/{i}")));
        (current, json!({"metadata": {"finalizers": list(n, |i| json!(format!("f/{i}")))}}))
    });
    case("ports of a workload", 64, &|n| {
        let ports = |from: usize| list(n, |i| json!({"containerPort": from + i, "protocol": "TCP"}));
        let spec = |from: usize| json!({"template": {"spec": {"containers": [{"name": "c", "ports": ports(from)}]}}, "selector": {}});
        let current = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "x"}, "spec": spec(1)});
        (current, json!({ "spec": spec(n / 2) }))
    });
    growth.finish(14);
}
