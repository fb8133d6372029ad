use serde_json::json;

use super::*;
use crate::auth::references::MIRROR;
use coracle_api::kinds;

/// What node n1 is answered; empty where it is allowed.
fn answer(verb: &str, key: &Key, sub: &str, new: Value, old: Value) -> String {
    let find = |key: &Key| match (key.kind.plural(), key.name.as_str()) {
        ("nodes", "n1") => Some(json!({"metadata": {"uid": "u1"}})),
        ("pods", "mine") => Some(json!({
            "metadata": {"uid": "m"},
            "spec": {"nodeName": "n1", "volumes": [
                {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"projected": {"sources": [{"serviceAccountToken": {"path": "v", "audience": "vault"}}]}},
            ]},
        })),
        ("pods", "other") => Some(json!({"metadata": {"uid": "o"}, "spec": {"nodeName": "n2"}})),
        _ => None,
    };
    let review = Review { node: "n1", verb, key, sub, new: &new, old: &old, find: &find };
    let text = admit(&review).err().map(|status| status.message).unwrap_or_default();
    text.split_once(" is forbidden: ").map_or(text.clone(), |(_, why)| why.to_owned())
}

#[test]
fn a_node_does_not_choose_its_own_pods() {
    let n1 = Key::new(&kinds::NODE, "", "n1");
    let node = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}});
    let labelled = |name: &str| answer("update", &n1, "", node(json!({name: "x"})), node(json!({})));
    for fine in [
        "a",
        "example.com/a",
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "beta.kubernetes.io/os",
        "kubelet.kubernetes.io/a",
        "x.kubelet.kubernetes.io/a",
        "node.kubernetes.io/a",
        "notkubernetes.io/a",
    ] {
        assert_eq!(labelled(fine), "", "{fine}");
    }
    for not in [
        "kubernetes.io/a",
        "node-role.kubernetes.io/worker",
        "node-restriction.kubernetes.io/a",
        "x.node-restriction.kubernetes.io/a",
        "x.k8s.io/a",
        "k8s.io/a",
    ] {
        assert_eq!(labelled(not), format!("is not allowed to modify labels: {not}"));
        let gone = answer("update", &n1, "status", node(json!({})), node(json!({not: "x"})));
        assert_eq!(
            gone,
            format!("is not allowed to modify labels: {not}"),
            "it may not take one away either"
        );
        assert_eq!(answer("update", &n1, "", node(json!({not: "x"})), node(json!({not: "x"}))), "");
        assert_eq!(
            answer("create", &n1, "", node(json!({not: "x"})), Value::Null),
            format!("is not allowed to set the following labels: {not}")
        );
    }
    let taints = |taints: Value| json!({"metadata": {"name": "n1"}, "spec": {"taints": taints}});
    let some = || json!([{"key": "a", "effect": "NoSchedule"}]);
    let modify = r#"node "n1" is not allowed to modify taints"#;
    assert_eq!(answer("create", &n1, "", taints(some()), Value::Null), "");
    assert_eq!(answer("update", &n1, "", taints(some()), taints(json!([]))), modify);
    assert_eq!(answer("update", &n1, "", taints(Value::Null), taints(some())), modify);
    assert_eq!(answer("update", &n1, "", taints(Value::Null), taints(json!([]))), "");
    let owned = json!({"metadata": {"name": "n1", "ownerReferences": [{"uid": "x"}]}});
    assert_eq!(
        answer("update", &n1, "", owned, node(json!({}))),
        r#"node "n1" is not allowed to modify ownerReferences"#
    );
    let n2 = Key::new(&kinds::NODE, "", "n2");
    for (verb, sub) in [("create", ""), ("update", ""), ("update", "status"), ("delete", "")] {
        assert_eq!(
            answer(verb, &n2, sub, json!({}), json!({})),
            r#"node "n1" is not allowed to modify node "n2""#
        );
    }
}

#[test]
fn a_node_writes_its_own_and_nothing_else() {
    let pod = |name: &str| Key::new(&kinds::POD, "a", name);
    let on = |node: &str| json!({"metadata": {"labels": {"a": "1"}}, "spec": {"nodeName": node}});
    let relabelled = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"nodeName": "n1"}});
    let lease = |namespace: &str, name: &str| Key::new(&kinds::LEASE, namespace, name);
    let not_mine = r#"node "n1" can only update pod status for pods with spec.nodeName set to itself"#;
    let cases = [
        ("status", answer("update", &pod("x"), "status", on("n1"), on("n1")), ""),
        ("another's status", answer("update", &pod("x"), "status", on("n1"), on("n2")), not_mine),
        (
            "labels by the status",
            answer("update", &pod("x"), "status", relabelled, on("n1")),
            r#"node "n1" cannot update labels through pod status"#,
        ),
        ("end", answer("delete", &pod("x"), "", Value::Null, on("n1")), ""),
        (
            "another's end",
            answer("delete", &pod("x"), "", Value::Null, on("n2")),
            r#"node "n1" can only delete pods with spec.nodeName set to itself"#,
        ),
        ("eviction", answer("create", &pod("mine"), "eviction", json!({}), Value::Null), ""),
        (
            "another's eviction",
            answer("create", &pod("other"), "eviction", json!({}), Value::Null),
            "node n1 can only evict pods with spec.nodeName set to itself",
        ),
        (
            "eviction of nothing",
            answer("create", &pod("none"), "eviction", json!({}), Value::Null),
            r#"pods "none" not found"#,
        ),
        ("lease", answer("update", &lease("kube-node-lease", "n1"), "", json!({}), json!({})), ""),
        (
            "another's lease",
            answer("create", &lease("kube-node-lease", "n2"), "", json!({}), Value::Null),
            "can only access node lease with the same name as the requesting node",
        ),
    ];
    for (name, got, expected) in cases {
        assert_eq!(got, expected, "case: {name}");
    }
}

#[test]
fn tokens_are_for_pods_of_the_node() {
    let account = Key::new(&kinds::SERVICE_ACCOUNT, "a", "builder");
    let ask = |kind: &str, name: &str, uid: &str, audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid});
        let request = json!({"spec": {"boundObjectRef": bound, "audiences": audiences}});
        answer("create", &account, "token", request, Value::Null)
    };
    let cases = [
        (ask("Pod", "mine", "m", Value::Null), ""),
        (ask("Pod", "mine", "m", json!(["vault"])), ""),
        (ask("Pod", "mine", "m", json!(["bank"])), r#"audience "bank" not found in pod spec volume"#),
        (ask("Pod", "mine", "m", json!(["vault", ""])), "node may only request 0 or 1 audiences"),
        // A secret that has the name of a pod is no pod.
        (ask("Secret", "mine", "m", Value::Null), "node requested token not bound to a pod"),
        (ask("Pod", "mine", "", Value::Null), "node requested token with a pod binding without a uid"),
        (
            ask("Pod", "mine", "x", Value::Null),
            "the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated",
        ),
        (
            ask("Pod", "other", "o", Value::Null),
            "node requested token bound to a pod scheduled on a different node",
        ),
        (ask("Pod", "none", "u", Value::Null), r#"pods "none" not found"#),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
    assert_eq!(
        answer("create", &account, "token", json!({"spec": {}}), Value::Null),
        "node requested token not bound to a pod"
    );
}

#[test]
fn a_mirror_pod_shows_what_the_node_runs_and_gives_no_rights() {
    let owner = |node: &str, uid: &str, controller: bool| json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid, "controller": controller}]);
    let make = |owners: Value, node: &str, more: Value| {
        let metadata = json!({"name": "p", "annotations": {MIRROR: "x"}, "ownerReferences": owners});
        let mut pod = json!({"metadata": metadata, "spec": more});
        pod["spec"]["nodeName"] = node.into();
        answer("create", &Key::new(&kinds::POD, "a", "p"), "", pod, Value::Null)
    };
    let to_itself = r#"node "n1" can only create pods with an owner reference set to itself"#;
    let cases = [
        (make(owner("n1", "u1", true), "n1", json!({})), ""),
        (make(json!([]), "n1", json!({})), to_itself),
        (make(owner("n2", "u1", true), "n1", json!({})), to_itself),
        (
            make(owner("n1", "u1", false), "n1", json!({})),
            r#"node "n1" can only create pods with a controller owner reference set to itself"#,
        ),
        (make(owner("n1", "u2", true), "n1", json!({})), r#"node "n1" UID mismatch: expected u1 got u2"#),
        (
            make(owner("n1", "u1", true), "n2", json!({})),
            r#"node "n1" can only create pods with spec.nodeName set to itself"#,
        ),
        (
            make(owner("n1", "u1", true), "n1", json!({"serviceAccountName": "default"})),
            r#"node "n1" can not create pods that reference a service account"#,
        ),
        (
            make(owner("n1", "u1", true), "n1", json!({"volumes": [{"configMap": {"name": "c"}}]})),
            r#"node "n1" can not create pods that reference configmaps"#,
        ),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
    let plain = answer("create", &Key::new(&kinds::POD, "a", "p"), "", json!({"metadata": {}}), Value::Null);
    assert!(plain.contains("can only create mirror pods"), "{plain}");
}
