//! What a node may write: its own Node, its own lease, events, the status of the pods bound to it, and their end; and it
//! may ask for the tokens that pods mount.

use coracle_api::decode::Format;
use coracle_api::{Key, Status, kinds};
use serde_json::Value;

use super::authorize::Attributes;
use crate::identity::Identity;
use crate::registry::Registry;
use crate::registry::operation::{Body, Operation};
use crate::state::list::ListOptions;
use crate::state::selection::Selection;

/// The group of all nodes.
pub const NODES: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";

/// Which node an identity is, if it is one.
pub fn node_of(user: &Identity) -> Option<&str> {
    user.user.strip_prefix(USER_PREFIX).filter(|_| user.is_in(NODES))
}

/// Whether a node may ask for this at all. Containers are for people, and secrets are read one by one, as pods name them.
pub fn may_ask(request: &Attributes) -> bool {
    let speaks = ["exec", "attach", "portforward", "proxy", "log"].contains(&request.subresource.as_str());
    let reads_many = ["list", "watch"].contains(&request.verb.as_str());
    let many_secrets = is_secret(request) && reads_many;
    !speaks && !many_secrets
}

fn is_secret(request: &Attributes) -> bool {
    request.resource == kinds::SECRET.plural() && request.group.is_empty()
}

/// Whether somebody may read what is asked for: a node reads only those secrets that a pod bound to it names.
///
/// # Errors
/// 403, in upstream's words.
pub fn may_read(registry: &Registry, user: &Identity, request: &Attributes) -> Result<(), Status> {
    if !is_secret(request) || request.verb != "get" {
        return Ok(());
    }
    may_read_secret(registry, user, &request.namespace, &request.name)
}

/// The same, for one secret.
///
/// # Errors
/// 403, in upstream's words.
pub fn may_read_secret(
    registry: &Registry,
    user: &Identity,
    namespace: &str,
    name: &str,
) -> Result<(), Status> {
    let Some(node) = node_of(user) else { return Ok(()) };
    let bound = Selection::parse(&kinds::POD, Some(namespace.into()), "", &format!("spec.nodeName={node}"))?;
    let pods = registry.list(&bound, &ListOptions::default())?.entries;
    if pods.iter().filter_map(|pod| pod.object.value().ok()).any(|pod| names_secret(&pod["spec"], name)) {
        return Ok(());
    }
    let key = Key::new(&kinds::SECRET, namespace, name);
    let why = format!(
        "{}: no relationship found between node '{node}' and this object",
        denied(node, "get", &key, None)
    );
    Err(Status::forbidden(&kinds::SECRET, name, &why))
}

/// Whether a pod's spec names a secret anywhere that an agent looks.
fn names_secret(spec: &Value, secret: &str) -> bool {
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let is = |value: &Value| value.as_str() == Some(secret);
    let containers =
        ["initContainers", "containers", "ephemeralContainers"].map(|field| list(spec, field)).concat();
    let in_containers = containers.iter().any(|container| {
        list(container, "envFrom").iter().any(|source| is(&source["secretRef"]["name"]))
            || list(container, "env").iter().any(|env| is(&env["valueFrom"]["secretKeyRef"]["name"]))
    });
    let in_volumes = list(spec, "volumes").iter().any(|volume| {
        is(&volume["secret"]["secretName"])
            || list(&volume["projected"], "sources").iter().any(|source| is(&source["secret"]["name"]))
    });
    in_containers || in_volumes || list(spec, "imagePullSecrets").iter().any(|pull| is(&pull["name"]))
}

/// Whether somebody may do a write. Only nodes are restricted.
///
/// # Errors
/// 403, in upstream's words where it has them.
pub fn may_write(registry: &Registry, user: &Identity, operation: &Operation) -> Result<(), Status> {
    let Some(node) = node_of(user) else { return Ok(()) };
    let (verb, key, sub) = match operation {
        Operation::Create { kind, namespace, sub: Some((name, sub)), .. } => {
            ("create", Key::new(kind, namespace, name), Some(sub.as_str()))
        }
        Operation::Create { kind, namespace, sub: None, body } => {
            ("create", Key::new(kind, namespace, text(body, "/metadata/name")), None)
        }
        Operation::Update { key, sub, .. } => ("update", key.clone(), sub.as_deref()),
        Operation::Patch { key, sub, .. } => ("patch", key.clone(), sub.as_deref()),
        Operation::Delete { key, .. } => ("delete", key.clone(), None),
    };
    let pod = match operation {
        Operation::Create { sub: Some((_, sub)), body, .. } if sub == "token" => {
            Key::new(&kinds::POD, key.namespace.clone(), text(body, "/spec/boundObjectRef/name"))
        }
        _ => key.clone(),
    };
    judge(node, verb, &key, sub, &|| bound_to(registry, &pod))
}

/// A field of a new object. Nodes write JSON; in another form they have no name, and so no right to it.
fn text(body: &Body, field: &str) -> String {
    let read = |value: &Value| value.pointer(field).and_then(Value::as_str).map(str::to_owned);
    let found = match body {
        Body::Tree(value) => read(value),
        Body::Bytes(Format::Json, bytes) => {
            serde_json::from_slice(bytes).ok().and_then(|value: Value| read(&value))
        }
        Body::Bytes(..) => None,
    };
    found.unwrap_or_default()
}

/// The node that a pod is bound to.
pub fn bound_to(registry: &Registry, pod: &Key) -> Option<String> {
    let pod = registry.get(pod)?.value().ok()?;
    Some(pod["spec"]["nodeName"].as_str()?.to_owned())
}

/// The rule itself. `pods_node` tells where the pod is bound that is meant, or that a token is for.
///
/// # Errors
/// 403.
pub fn judge(
    node: &str,
    verb: &str,
    key: &Key,
    sub: Option<&str>,
    pods_node: &dyn Fn() -> Option<String>,
) -> Result<(), Status> {
    let kind = &key.kind;
    let refuse = |why: String| Err(Status::forbidden(kind, &key.name, &why));
    if *kind == kinds::NODE {
        return match (key.name == node, verb) {
            (true, "delete") => refuse(format!("node {node:?} is not allowed to delete node {:?}", key.name)),
            (true, _) => Ok(()),
            (false, _) => refuse(format!("node {node:?} is not allowed to modify node {:?}", key.name)),
        };
    }
    if *kind == kinds::LEASE {
        return match (key.namespace == "kube-node-lease", key.name == node) {
            (true, true) => Ok(()),
            (true, false) => {
                refuse("can only access node lease with the same name as the requesting node".into())
            }
            (false, _) => refuse("can only access leases in the \"kube-node-lease\" system namespace".into()),
        };
    }
    if *kind == kinds::POD {
        let mine = || pods_node().is_some_and(|bound| bound == node);
        return match (verb, sub) {
            ("delete", None) if mine() => Ok(()),
            ("delete", None) => {
                refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            ("update" | "patch", Some("status")) if mine() => Ok(()),
            ("update" | "patch", Some("status")) => refuse(format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            )),
            _ => refuse(denied(node, verb, key, sub)),
        };
    }
    if *kind == kinds::SERVICE_ACCOUNT && (verb, sub) == ("create", Some("token")) {
        if pods_node().is_some_and(|bound| bound == node) {
            return Ok(());
        }
        return refuse("node requested token not bound to a pod".into());
    }
    if kind.plural() == kinds::EVENT.plural() && verb != "delete" {
        return Ok(());
    }
    refuse(denied(node, verb, key, sub))
}

fn denied(node: &str, verb: &str, key: &Key, sub: Option<&str>) -> String {
    let resource = match sub {
        Some(sub) => format!("{}/{sub}", key.kind.plural()),
        None => key.kind.plural().to_owned(),
    };
    let user = format!("{USER_PREFIX}{node}");
    super::authorize::cannot(&user, verb, &resource, key.kind.group(), &key.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_in_many_places() {
        use serde_json::json;
        let specs = [
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
            json!({"volumes": [{"secret": {"secretName": "s"}}]}),
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            json!({"imagePullSecrets": [{"name": "s"}]}),
        ];
        for spec in specs {
            assert!(names_secret(&spec, "s") && !names_secret(&spec, "t"), "{spec}");
        }
    }

    #[test]
    fn a_node_writes_its_own_and_nothing_else() {
        let key = |kind, ns: &str, name: &str| Key::new(kind, ns, name);
        let cases = [
            ("its node", "patch", key(&kinds::NODE, "", "n1"), Some("status"), true),
            ("makes itself", "create", key(&kinds::NODE, "", "n1"), None, true),
            ("deletes itself", "delete", key(&kinds::NODE, "", "n1"), None, false),
            ("another node", "patch", key(&kinds::NODE, "", "n2"), None, false),
            ("its lease", "update", key(&kinds::LEASE, "kube-node-lease", "n1"), None, true),
            ("another lease", "update", key(&kinds::LEASE, "kube-node-lease", "n2"), None, false),
            ("a lease elsewhere", "update", key(&kinds::LEASE, "default", "n1"), None, false),
            ("its pod's status", "patch", key(&kinds::POD, "a", "mine"), Some("status"), true),
            ("its pod's end", "delete", key(&kinds::POD, "a", "mine"), None, true),
            ("its pod's spec", "patch", key(&kinds::POD, "a", "mine"), None, false),
            ("another pod's status", "patch", key(&kinds::POD, "a", "other"), Some("status"), false),
            ("another pod's end", "delete", key(&kinds::POD, "a", "other"), None, false),
            ("a new pod", "create", key(&kinds::POD, "a", "new"), None, false),
            ("a binding", "create", key(&kinds::POD, "a", "mine"), Some("binding"), false),
            ("an event", "create", key(&kinds::EVENT, "a", "e"), None, true),
            ("its pod's token", "create", key(&kinds::SERVICE_ACCOUNT, "a", "mine"), Some("token"), true),
            ("a stray token", "create", key(&kinds::SERVICE_ACCOUNT, "a", "other"), Some("token"), false),
            ("an account", "create", key(&kinds::SERVICE_ACCOUNT, "a", "mine"), None, false),
            ("a secret", "create", key(&kinds::SECRET, "a", "s"), None, false),
        ];
        for (name, verb, key, sub, expected) in cases {
            let bound = if key.name == "mine" { "n1" } else { "n2" };
            let got = judge("n1", verb, &key, sub, &|| Some(bound.to_owned()));
            assert_eq!(got.is_ok(), expected, "case: {name}: {got:?}");
        }
    }
}
