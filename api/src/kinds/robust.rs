//! Nothing that decodes makes a kind's functions panic: samples of every kind lose, empty and change parts of any depth,
//! and pass through all that a write and a read do.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Kinds, service};
use crate::table::{Form, Include};

/// One object that has something of everything; each kind takes what it knows.
fn sample() -> Value {
    let pod = json!({
        "containers": [{"name": "c", "image": "busybox:1", "ports": [{"containerPort": 80, "name": "web"}],
            "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "initContainers": [{"name": "i", "image": "busybox", "restartPolicy": "Always"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
        "readinessGates": [{"conditionType": "a.b/c"}],
        "restartPolicy": "Always",
    });
    let mut spec = json!({
        "replicas": 2, "minReadySeconds": 1, "progressDeadlineSeconds": 9, "podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"],
        "selector": {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": pod},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "type": "LoadBalancer", "ports": [{"name": "a", "port": 80, "nodePort": 30_001, "targetPort": "web"}, {"port": 81}],
        "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"], "externalIPs": ["1.2.3.4"],
        "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP", "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "taints": [{"key": "a", "effect": "NoSchedule"}], "unschedulable": true, "finalizers": ["kubernetes"],
        "leaseDurationSeconds": 5, "holderIdentity": "me", "minAvailable": "50%",
    });
    spec.as_object_mut().unwrap().extend(pod.as_object().cloned().unwrap());
    json!({
        "metadata": {"name": "x", "namespace": "n", "generateName": "x-", "generation": 3, "resourceVersion": "1", "uid": "u",
            "labels": {"app": "x"}, "annotations": {"a": "b"}, "finalizers": ["a.b/c"], "creationTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"}]},
        "spec": spec,
        "status": {"phase": "Running", "replicas": 1, "readyReplicas": 1, "capacity": {"cpu": "4"},
            "conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "loadBalancer": {"ingress": [{"ip": "1.1.1.1"}]}, "podIPs": [{"ip": "10.0.0.1"}],
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}, "restartCount": 2}],
            "initContainerStatuses": [{"name": "i", "state": {"running": {}}, "started": true}]},
        "data": {"a": "MQ=="}, "binaryData": {"b": "MQ=="}, "stringData": {"c": "d"}, "immutable": true, "type": "kubernetes.io/tls",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "reason": "R", "message": "m",
        "eventTime": "2026-01-01T00:00:00.000000Z", "series": {"count": 2}, "source": {"component": "c"}, "secrets": [{"name": "s"}],
    })
}

/// The same place with another value of the same type, or nothing, or null.
fn disturb(value: &mut Value, path: &[prop::sample::Index], how: u8) {
    let children = match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    if let Some((step, rest)) = path.split_first().filter(|_| children > 0) {
        let at = step.index(children);
        let child = match value {
            Value::Object(map) => map.values_mut().nth(at),
            Value::Array(list) => list.get_mut(at),
            _ => None,
        };
        return child.into_iter().for_each(|child| disturb(child, rest, how));
    }
    *value = match (how, &*value) {
        (0, _) => Value::Null,
        (1, Value::Object(_)) => json!({}),
        (1, Value::Array(_)) => json!([]),
        (1, Value::String(_)) => json!(""),
        (2, Value::Array(list)) => list.iter().chain(list).cloned().collect(),
        (2, Value::String(text)) => text.repeat(300).into(),
        (2, Value::Number(_)) => json!(i64::MAX),
        (3, Value::Number(_)) => json!(-1),
        (3, Value::String(_)) => json!("ü/%\u{0}"),
        (_, Value::Bool(b)) => json!(!b),
        (_, other) => other.clone(),
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn no_object_makes_a_kind_panic(changes in prop::collection::vec(
        (prop::collection::vec(any::<prop::sample::Index>(), 1..7), 0..4_u8), 1..5))
    {
        let old = sample();
        let mut new = old.clone();
        for (path, how) in &changes {
            disturb(&mut new, path, *how);
        }
        // Decoding answers for the outermost shape.
        for part in ["metadata", "spec", "status"] {
            if !new[part].is_object() {
                new[part] = json!({});
            }
        }
        let now = "2026-01-02T03:04:09Z".parse().unwrap();
        let form = Form { api_version: "meta.k8s.io/v1", include: Include::Metadata, headed: true, now };
        for kind in Kinds::new().served() {
            let strategy = kind.strategy;
            let mut created = new.clone();
            kind.fill_in(&mut created);
            let filled = created.clone();
            kind.fill_in(&mut created);
            prop_assert_eq!(&created, &filled, "{:?}: filling in twice changes nothing", kind);
            (strategy.prepare_create)(&kind, &mut created);
            let _ = kind.validate(&created);
            let _ = (strategy.warnings)(&kind, &created, None);
            let mut changed = filled.clone();
            (strategy.prepare_update)(&kind, &mut changed, &old);
            let _ = kind.validate_change(strategy.validate_update, &changed, &old);
            let _ = (strategy.warnings)(&kind, &changed, Some(&old));
            let mut status = filled.clone();
            (strategy.prepare_status_update)(&kind, &mut status, &old);
            let _ = kind.validate_change(strategy.validate_status_update, &status, &old);
            for change in kind.subresources.iter().filter_map(|sub| sub.write) {
                let mut part = filled.clone();
                (change.prepare)(&kind, &mut part, &old);
                let _ = kind.validate_change(change.validate, &part, &old);
            }
            let table = kind.table.print([&created, &changed, &filled], json!({}), form);
            prop_assert_eq!(table["rows"].as_array().map(Vec::len), Some(3));
            for field in &*kind.selectable {
                let _ = field.value(&created);
            }
        }
        service::normalize_update(&mut new, &old);
        service::check_addresses(&new, &mut crate::Errors::new());
    }
}
