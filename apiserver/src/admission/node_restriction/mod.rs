//! What a node may write: its own Node (but not what decides which pods come to it), its own lease, the status and the end of the pods
//! bound to it, and tokens for these. Nobody but nodes is restricted here.
//!
//! Source: `plugin/pkg/admission/noderestriction/admission.go`.

use async_trait::async_trait;
use coracle_api::{Key, Status, kinds};
use serde_json::Value;

use super::attributes::{Attributes, Operation};
use super::link::Link;
use crate::auth::references::{MIRROR, names_any};

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";

/// Labels that a node may set although their names belong to Kubernetes. Anything outside of `kubernetes.io` and `k8s.io` is free.
///
/// Source: `k8s.io/kubelet/pkg/apis/well_known_labels.go`.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// The same, for whole families of names.
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Names by which administrators keep nodes apart: no node may have a say in these.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// The link.
pub(super) struct NodeRestriction;

#[async_trait]
impl Link for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(
        &self,
        asked: &Attributes<'_>,
        object: &mut Value,
        _: &mut Vec<String>,
    ) -> Result<bool, Status> {
        let Some(node) = asked.user.node() else { return Ok(false) };
        let verb = match asked.operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Connect => return Ok(false),
        };
        // A new object, and one of a collection, has no name but its own.
        let named = if object.is_null() { asked.old } else { &*object };
        let inside = named["metadata"]["name"].as_str().unwrap_or_default();
        let name = if asked.key.name.is_empty() { inside } else { &asked.key.name };
        let key = Key { name: name.into(), ..asked.key.clone() };
        let find = |key: &Key| asked.find(key).map(|entry| entry.value());
        let (sub, old) = (asked.subresource, asked.old);
        admit(&Review { node, verb, key: &key, sub, new: object, old, find: &find }).map(|()| false)
    }
}

/// A write that is about to happen, with everything that is known of it by then.
struct Review<'a> {
    /// Which node writes.
    node: &'a str,
    /// `create`, `update` (a patch, too) or `delete`.
    verb: &'a str,
    /// Of what; of the parent for a subresource.
    key: &'a Key,
    /// Such as `status`.
    sub: &'a str,
    /// The object as it will be; null for a delete.
    new: &'a Value,
    /// The object as it is; null where there is none.
    old: &'a Value,
    /// Finds another object.
    find: &'a dyn Fn(&Key) -> Option<Value>,
}

/// Whether the node may.
///
/// # Errors
/// 403, or 404 for a pod or a node that is not there; in upstream's words.
fn admit(review: &Review<'_>) -> Result<(), Status> {
    let kind = &review.key.kind;
    let outcome = match (kind.group(), kind.plural()) {
        ("", "nodes") => own_node(review),
        ("", "pods") => own_pod(review),
        ("", "serviceaccounts") if review.sub == "token" => token(review),
        ("coordination.k8s.io", "leases") => own_lease(review),
        ("storage.k8s.io", "csinodes") => same_name(review, "CSINode"),
        _ => Ok(()),
    };
    outcome.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => Status::forbidden(kind, &review.key.name, &why),
        Refusal::NotFound(key) => Status::not_found(&key.kind, &key.name),
    })
}

enum Refusal {
    Forbidden(String),
    NotFound(Key),
}

fn forbid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Forbidden(why.into()))
}

impl Review<'_> {
    fn found(&self, key: Key) -> Result<Value, Refusal> {
        (self.find)(&key).ok_or(Refusal::NotFound(key))
    }
}

fn own_node(review: &Review<'_>) -> Result<(), Refusal> {
    let (node, new, old) = (review.node, review.new, review.old);
    if review.verb == "create" {
        if !new["spec"]["configSource"].is_null() {
            return forbid(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(&Value::Null, &new["metadata"]["labels"]);
        if !labels.is_empty() {
            return forbid(format!("is not allowed to set the following labels: {}", labels.join(", ")));
        }
        if !is_empty(&new["metadata"]["ownerReferences"]) {
            return forbid(format!("node {node:?} is not allowed to set ownerReferences"));
        }
    }
    if review.key.name != node {
        return forbid(format!("node {node:?} is not allowed to modify node {:?}", review.key.name));
    }
    match review.verb {
        "delete" => forbid(format!("node {node:?} is not allowed to delete node {node:?}")),
        "update" => {
            if new["spec"]["configSource"] != old["spec"]["configSource"] {
                return forbid(format!("node {node:?} is not allowed to update configSource to a new value"));
            }
            if !same(&new["spec"]["taints"], &old["spec"]["taints"]) {
                return forbid(format!("node {node:?} is not allowed to modify taints"));
            }
            let labels = forbidden_labels(&old["metadata"]["labels"], &new["metadata"]["labels"]);
            if !labels.is_empty() {
                return forbid(format!("is not allowed to modify labels: {}", labels.join(", ")));
            }
            if !same(&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]) {
                return forbid(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The labels that differ and are not for a node to decide, sorted.
fn forbidden_labels(old: &Value, new: &Value) -> Vec<String> {
    let names = |labels: &Value| -> Vec<String> {
        labels.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let mut all = [names(old), names(new)].concat();
    all.retain(|name| old.get(name) != new.get(name) && !may_set(name));
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a label is one that nodes may set on themselves.
fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTED_DOMAIN) {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes || OWN_LABELS.contains(&label) || OWN_LABEL_DOMAINS.into_iter().any(within)
}

fn own_pod(review: &Review<'_>) -> Result<(), Refusal> {
    let node = review.node;
    let mine = |pod: &Value| pod["spec"]["nodeName"] == node;
    match (review.sub, review.verb) {
        ("", "create") => mirror_pod(review),
        ("", "delete") if mine(review.old) => Ok(()),
        ("", "delete") => {
            forbid(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("status", "update") if !mine(review.old) => forbid(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )),
        ("status", "update")
            if !same(&review.new["metadata"]["labels"], &review.old["metadata"]["labels"]) =>
        {
            forbid(format!("node {node:?} cannot update labels through pod status"))
        }
        ("status", "update") => Ok(()),
        ("eviction", "create") => {
            let pod = review.found(review.key.clone())?;
            if mine(&pod) {
                return Ok(());
            }
            forbid(format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("", verb) => forbid(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            verb.to_uppercase()
        )),
        (sub, _) => {
            forbid(format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"))
        }
    }
}

/// A pod that a node runs by itself, and shows to the server. It names nothing that the node would gain a right to by it.
fn mirror_pod(review: &Review<'_>) -> Result<(), Refusal> {
    let (node, pod) = (review.node, review.new);
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        return forbid(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return forbid(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let owner = match owners {
        [owner] => owner,
        [] => {
            return forbid(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        _ => {
            return forbid(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return forbid(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if owner["controller"] != true {
        return forbid(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return forbid(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let known = review.found(Key::new(&kinds::NODE, "", node))?;
    if owner["uid"] != known["metadata"]["uid"] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (expected, got) = (text(&known["metadata"]["uid"]), text(&owner["uid"]));
        return forbid(format!("node {node:?} UID mismatch: expected {expected} got {got}"));
    }
    let kinds = [
        ("serviceaccounts", "a service account"),
        ("secrets", "secrets"),
        ("configmaps", "configmaps"),
        ("persistentvolumeclaims", "persistentvolumeclaims"),
    ];
    match kinds.iter().find(|(resource, _)| names_any(pod, resource)) {
        Some((_, what)) => forbid(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// A token is for a pod of the node: this very one, and for those whom its volumes are for.
fn token(review: &Review<'_>) -> Result<(), Refusal> {
    let bound = &review.new["spec"]["boundObjectRef"];
    let field = |name: &str| bound[name].as_str().unwrap_or_default();
    if field("apiVersion") != "v1" || field("kind") != "Pod" || field("name").is_empty() {
        return forbid("node requested token not bound to a pod");
    }
    if field("uid").is_empty() {
        return forbid("node requested token with a pod binding without a uid");
    }
    let pod = review.found(Key::new(&kinds::POD, review.key.namespace.as_str(), field("name")))?;
    if pod["metadata"]["uid"] != field("uid") {
        return forbid(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            field("uid")
        ));
    }
    if pod["spec"]["nodeName"] != review.node {
        return forbid("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = review.new["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let audience = match audiences {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return forbid("node may only request 0 or 1 audiences"),
    };
    if !has_volume_for(&pod, audience) {
        return forbid(format!("audience {audience:?} not found in pod spec volume"));
    }
    Ok(())
}

/// Whether one of a pod's volumes holds a token for somebody.
fn has_volume_for(pod: &Value, audience: &str) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&pod["spec"]["volumes"]).iter().any(|volume| {
        list(&volume["projected"]["sources"]).iter().any(|source| {
            let token = &source["serviceAccountToken"];
            token.is_object() && token["audience"].as_str().unwrap_or_default() == audience
        })
    })
}

fn own_lease(review: &Review<'_>) -> Result<(), Refusal> {
    if review.key.namespace != LEASES {
        return forbid(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if review.key.name != review.node {
        return forbid("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn same_name(review: &Review<'_>, kind: &str) -> Result<(), Refusal> {
    if review.key.name == review.node {
        return Ok(());
    }
    forbid(format!("can only access {kind} with the same name as the requesting node"))
}

/// Nothing, an empty list and an empty map are the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (is_empty(a) && is_empty(b))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        other => other.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is said to node n1; empty where it may.
    fn told(verb: &str, key: &Key, sub: &str, new: Value, old: Value) -> String {
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
        let labelled = |name: &str| told("update", &n1, "", node(json!({name: "x"})), node(json!({})));
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
            let gone = told("update", &n1, "status", node(json!({})), node(json!({not: "x"})));
            assert_eq!(
                gone,
                format!("is not allowed to modify labels: {not}"),
                "it may not take one away either"
            );
            assert_eq!(told("update", &n1, "", node(json!({not: "x"})), node(json!({not: "x"}))), "");
            assert_eq!(
                told("create", &n1, "", node(json!({not: "x"})), Value::Null),
                format!("is not allowed to set the following labels: {not}")
            );
        }
        let taints = |taints: Value| json!({"metadata": {"name": "n1"}, "spec": {"taints": taints}});
        let some = || json!([{"key": "a", "effect": "NoSchedule"}]);
        let modify = r#"node "n1" is not allowed to modify taints"#;
        assert_eq!(told("create", &n1, "", taints(some()), Value::Null), "");
        assert_eq!(told("update", &n1, "", taints(some()), taints(json!([]))), modify);
        assert_eq!(told("update", &n1, "", taints(Value::Null), taints(some())), modify);
        assert_eq!(told("update", &n1, "", taints(Value::Null), taints(json!([]))), "");
        let owned = json!({"metadata": {"name": "n1", "ownerReferences": [{"uid": "x"}]}});
        assert_eq!(
            told("update", &n1, "", owned, node(json!({}))),
            r#"node "n1" is not allowed to modify ownerReferences"#
        );
        let n2 = Key::new(&kinds::NODE, "", "n2");
        for (verb, sub) in [("create", ""), ("update", ""), ("update", "status"), ("delete", "")] {
            assert_eq!(
                told(verb, &n2, sub, json!({}), json!({})),
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
            ("status", told("update", &pod("x"), "status", on("n1"), on("n1")), ""),
            ("another's status", told("update", &pod("x"), "status", on("n1"), on("n2")), not_mine),
            (
                "labels by the status",
                told("update", &pod("x"), "status", relabelled, on("n1")),
                r#"node "n1" cannot update labels through pod status"#,
            ),
            ("end", told("delete", &pod("x"), "", Value::Null, on("n1")), ""),
            (
                "another's end",
                told("delete", &pod("x"), "", Value::Null, on("n2")),
                r#"node "n1" can only delete pods with spec.nodeName set to itself"#,
            ),
            ("eviction", told("create", &pod("mine"), "eviction", json!({}), Value::Null), ""),
            (
                "another's eviction",
                told("create", &pod("other"), "eviction", json!({}), Value::Null),
                "node n1 can only evict pods with spec.nodeName set to itself",
            ),
            (
                "eviction of nothing",
                told("create", &pod("none"), "eviction", json!({}), Value::Null),
                r#"pods "none" not found"#,
            ),
            ("lease", told("update", &lease("kube-node-lease", "n1"), "", json!({}), json!({})), ""),
            (
                "another's lease",
                told("create", &lease("kube-node-lease", "n2"), "", json!({}), Value::Null),
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
            told("create", &account, "token", request, Value::Null)
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
            told("create", &account, "token", json!({"spec": {}}), Value::Null),
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
            told("create", &Key::new(&kinds::POD, "a", "p"), "", pod, Value::Null)
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
        let plain =
            told("create", &Key::new(&kinds::POD, "a", "p"), "", json!({"metadata": {}}), Value::Null);
        assert!(plain.contains("can only create mirror pods"), "{plain}");
    }
}
