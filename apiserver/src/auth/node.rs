//! What a node may ask for: its own Node and lease, the pods that are bound to it, and what these name.
//!
//! What a node may change in an object that it may write is another question: `admission::node_restriction`. Resources are
//! named here and not asked of rows of the table of kinds, because authorization is asked about what nothing serves, too,
//! such as `persistentvolumeclaims`.
//!
//! Source: `plugin/pkg/auth/authorizer/node/node_authorizer.go`, and `NodeRules` in
//! `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::{Key, kinds};
use parking_lot::Mutex;

use super::attributes::Attributes;
use super::lookup::Lookup;
use super::references;

/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";
/// How many answers are remembered. More nodes and pods than this only make some answers slower.
const REMEMBERED: usize = 50_000;

/// Why not; `None`: no rule allows it, and there is no more to say.
type Refusal = Option<String>;

/// The rules for nodes.
pub struct NodeRules {
    objects: Arc<dyn Lookup>,
    /// Which pod gave a node the right to an object, so that the next question need not look through all pods.
    by: Mutex<HashMap<Relation, String>>,
}

/// A node's right to an object.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Relation {
    node: String,
    resource: String,
    namespace: String,
    name: String,
}

impl NodeRules {
    /// Rules by what is stored.
    pub fn new(objects: Arc<dyn Lookup>) -> NodeRules {
        NodeRules { objects, by: Mutex::default() }
    }

    /// Whether a node may do something.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub fn may(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        match (attributes.group.as_str(), attributes.resource.as_str()) {
            ("", "nodes") => own_node(node, attributes),
            ("", "pods") => self.pods(node, attributes),
            ("", "secrets" | "configmaps") => self.read_named(node, attributes),
            ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
                self.claim_status(node, attributes)
            }
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("storage.k8s.io", "volumeattachments") => self.get_one(node, attributes),
            ("", "serviceaccounts") => self.accounts(node, attributes),
            ("coordination.k8s.io", "leases") => own_lease(node, attributes),
            ("storage.k8s.io", "csinodes") => own_csi_node(node, attributes),
            (group, resource) => is_granted(group, resource, &attributes.subresource, &attributes.verb),
        }
    }

    fn pods(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        match (attributes.subresource.as_str(), attributes.verb.as_str()) {
            ("", "get") => self.related(node, attributes),
            ("", "list" | "watch") if attributes.fields.requires("spec.nodeName") == Some(node) => Ok(()),
            ("", "list" | "watch") if !attributes.name.is_empty() => self.related(node, attributes),
            ("", "list" | "watch") => {
                Err(Some("can only list/watch pods with spec.nodeName field selector".into()))
            }
            // `admission::node_restriction` checks whose pod it is.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(None),
        }
    }

    /// Reading secrets and ConfigMaps, one at a time.
    fn read_named(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Some(why.to_owned()));
        match attributes.verb.as_str() {
            "get" | "list" | "watch" => {}
            _ => return refuse("can only read resources of this type"),
        }
        if !attributes.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if attributes.namespace.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related(node, attributes)
    }

    fn get_one(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        if attributes.verb != "get" {
            return Err(Some("can only get individual resources of this type".into()));
        }
        if !attributes.subresource.is_empty() {
            return Err(Some("cannot get subresource".into()));
        }
        self.related(node, attributes)
    }

    fn claim_status(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        match attributes.verb.as_str() {
            "update" | "patch" => self.related(node, attributes),
            _ => Err(Some("can only update/patch status".into())),
        }
    }

    fn accounts(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        match (attributes.subresource.as_str(), attributes.verb.as_str()) {
            ("token", "create") | ("", "get") => self.related(node, attributes),
            ("token", _) => Err(Some("can only create tokens for individual service accounts".into())),
            _ => Err(None),
        }
    }

    /// Whether a pod of the node is the object, or names it.
    fn related(&self, node: &str, attributes: &Attributes) -> Result<(), Refusal> {
        if attributes.name.is_empty() {
            return Err(Some("No Object name found".into()));
        }
        let related = match attributes.resource.as_str() {
            "pods" => self.is_bound(&attributes.namespace, &attributes.name, node, |_| true),
            resource => self.is_named(node, resource, &attributes.namespace, &attributes.name),
        };
        if related {
            return Ok(());
        }
        Err(Some(format!("no relationship found between node '{node}' and this object")))
    }

    fn is_named(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let relation = Relation {
            node: node.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        let remembered = self.by.lock().get(&relation).cloned();
        let names = |pod: &serde_json::Value| references::names(pod, resource, name);
        if remembered.is_some_and(|pod| self.is_bound(namespace, &pod, node, names)) {
            return true;
        }
        let pods = self.objects.pods_on(node, namespace);
        let by = pods.iter().find(|pod| pod.value().is_ok_and(|pod| names(&pod)));
        let mut known = self.by.lock();
        match by {
            Some(pod) => {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(relation, pod.key.name.clone());
                true
            }
            None => {
                known.remove(&relation);
                false
            }
        }
    }

    /// Whether a pod is there, is bound to the node, and is as wanted.
    fn is_bound(
        &self,
        namespace: &str,
        pod: &str,
        node: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> bool {
        let found = self.objects.object(&Key::new(&kinds::POD, namespace, pod));
        let pod = found.and_then(|pod| pod.value().ok());
        pod.is_some_and(|pod| pod["spec"]["nodeName"] == node && wanted(&pod))
    }
}

/// A node reads its own Node. Which one it writes is seen when the object is known.
fn own_node(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    match (attributes.subresource.as_str(), attributes.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if attributes.name == node => Ok(()),
        ("", "get" | "list" | "watch") if attributes.name.is_empty() => {
            Err(Some(format!("node '{node}' cannot read all nodes, only its own Node object")))
        }
        ("", "get" | "list" | "watch") => {
            let other = &attributes.name;
            Err(Some(format!("node '{node}' cannot read '{other}', only its own Node object")))
        }
        // The line on which logs and sessions come down.
        ("line", "create") if attributes.name == node => Ok(()),
        _ => Err(None),
    }
}

fn own_lease(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    let verbs = ["get", "create", "update", "patch", "delete"];
    if !verbs.contains(&attributes.verb.as_str()) {
        return Err(Some("can only get, create, update, patch, or delete a node lease".into()));
    }
    if attributes.namespace != LEASES {
        return Err(Some(format!("can only access leases in the {LEASES:?} system namespace")));
    }
    // The name of a new one is seen when the object is known.
    if attributes.verb != "create" && attributes.name != node {
        return Err(Some("can only access node lease with the same name as the requesting node".into()));
    }
    Ok(())
}

fn own_csi_node(node: &str, attributes: &Attributes) -> Result<(), Refusal> {
    let verbs = ["get", "create", "update", "patch", "delete"];
    if !verbs.contains(&attributes.verb.as_str()) {
        return Err(Some("can only get, create, update, patch, or delete a CSINode".into()));
    }
    if !attributes.subresource.is_empty() {
        return Err(Some("cannot authorize CSINode subresources".into()));
    }
    if attributes.verb != "create" && attributes.name != node {
        return Err(Some("can only access CSINode with the same name as the requesting node".into()));
    }
    Ok(())
}

/// What every node may, whatever runs on it.
fn is_granted(group: &str, resource: &str, sub: &str, verb: &str) -> Result<(), Refusal> {
    let reads = ["get", "list", "watch"];
    let creates = ["create"];
    let records = ["create", "update", "patch"];
    let verbs: &[&str] = match (group, resource, sub) {
        ("", "services", "") => &reads,
        ("", "endpoints", "") => &["get"],
        ("" | "events.k8s.io", "events", "") => &records,
        ("authentication.k8s.io", "tokenreviews", "") => &creates,
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => &creates,
        ("certificates.k8s.io", "certificatesigningrequests", "") => &["create", "get", "list", "watch"],
        ("certificates.k8s.io", "certificatesigningrequests", "selfnodeclient") => &creates,
        ("node.k8s.io", "runtimeclasses", "") | ("storage.k8s.io", "csidrivers", "") => &reads,
        _ => &[],
    };
    if verbs.contains(&verb) { Ok(()) } else { Err(None) }
}
