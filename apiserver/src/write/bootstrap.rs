//! What a cluster has from its first moment, and again when somebody has deleted it.
//!
//! Source: the controllers `systemnamespaces`, `kubernetesservice` and `clusterauthenticationtrust` in `pkg/controlplane/controller`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, KindRef, kinds};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::operation::{Body, Context, Operation};
use crate::identity::Identity;

/// How often it is looked after, as often as upstream's `kubernetesservice` does. Without the namespace of their leases nodes count
/// as dead after 50 seconds.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Makes again what is missing, until it is stopped.
pub async fn keep_system_objects(registry: Arc<Registry>, address: SocketAddr, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        registry.ensure_system_objects(address).await;
    }
}

impl Registry {
    /// Makes what every cluster has and nobody else makes; what is there already stays as it is.
    pub async fn ensure_system_objects(self: &Arc<Self>, address: SocketAddr) {
        let context = own_context();
        for (kind, namespace, body) in system_objects(address) {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            // Looked for first: a second Service of that address would be refused before its name is.
            let key = Key::new(&kind, namespace, name);
            if self.get(&key).is_some() {
                continue;
            }
            let what = kind.qualified_kind();
            let operation =
                Operation::Create { kind, namespace: namespace.into(), sub: None, body: Body::Tree(body) };
            match self.perform(context.clone(), operation).await.result {
                Ok(_) => {}
                // Another server was quicker.
                Err(_) if self.get(&key).is_some() => {}
                Err(status) => {
                    tracing::error!(kind = what, %status, "cannot make an object that every cluster has")
                }
            }
        }
    }

    /// Sets port and type of the Service `kubernetes` right: it may be there from when this server listened elsewhere. Done at a start
    /// only, as upstream does it, so that people may change it meanwhile, and servers that share a store do not take turns.
    pub async fn correct_service(self: &Arc<Self>, address: SocketAddr) {
        let key = Key::new(&kinds::SERVICE, "default", "kubernetes");
        let Some(mut service) = self.get(&key).and_then(|found| found.value().ok()) else { return };
        let right = api_service(address);
        let fields = ["ports", "type"];
        if fields.iter().all(|field| service["spec"][field] == right["spec"][field]) {
            return;
        }
        for field in fields {
            service["spec"][field] = right["spec"][field].clone();
        }
        tracing::warn!(port = address.port(), "the Service kubernetes is set right");
        // With the revision that was read: who writes meanwhile is not overwritten.
        let operation = Operation::Update { key, sub: None, body: Body::Tree(service) };
        if let Err(status) = self.perform(own_context(), operation).await.result {
            tracing::error!(%status, "the Service kubernetes is not set right");
        }
    }
}

fn own_context() -> Context {
    let user = Identity::new("system:apiserver", &["system:masters", "system:authenticated"]);
    Context { field_manager: "kube-apiserver".into(), ..Context::of(user) }
}

/// The Service by which pods reach this server.
fn api_service(address: SocketAddr) -> Value {
    json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": crate::pki::SERVICE_ADDRESS,
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": address.port()}],
            "type": "ClusterIP",
            "sessionAffinity": "None",
        },
    })
}

fn system_objects(address: SocketAddr) -> Vec<(KindRef, &'static str, Value)> {
    let namespace = |name: &str| {
        let body = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        (kinds::NAMESPACE.handle(), "", body)
    };
    // Where aggregated servers would look for the authority of clients' certificates.
    let authentication = json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "extension-apiserver-authentication"},
        "data": {
            "requestheader-allowed-names": "[]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        },
    });
    vec![
        namespace("default"),
        namespace("kube-system"),
        namespace("kube-public"),
        namespace("kube-node-lease"),
        (kinds::CONFIG_MAP.handle(), "kube-system", authentication),
        (kinds::SERVICE.handle(), "default", api_service(address)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::operation::{DeleteOptions, PatchForm};
    use crate::write::tests::World;

    #[tokio::test]
    async fn the_service_of_a_server_that_listens_elsewhere_is_set_right() {
        let world = World::new(1000).await;
        let key = Key::new(&kinds::SERVICE, "default", "kubernetes");
        let shown = || world.registry.get(&key).unwrap().value().unwrap();
        let before = shown();
        assert_eq!(before["spec"]["ports"][0]["targetPort"], 1);
        let labels = json!({"metadata": {"labels": {"mine": "yes"}}});
        let (form, body) = (PatchForm::Merge, Body::Tree(labels));
        world.perform(Operation::Patch { key: key.clone(), sub: None, form, body }).await.unwrap();
        let labelled = shown();
        world.registry.correct_service("127.0.0.1:1".parse().unwrap()).await;
        assert_eq!(shown(), labelled, "what is right stays as it is");
        for port in [2, 3] {
            world.registry.correct_service(SocketAddr::from(([127, 0, 0, 1], port))).await;
            let now = shown();
            assert_eq!(
                now["spec"]["ports"],
                api_service(SocketAddr::from(([127, 0, 0, 1], port)))["spec"]["ports"]
            );
            assert_eq!(now["metadata"]["labels"], labelled["metadata"]["labels"], "the rest stays");
            assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_cluster_needs_comes_back_when_it_is_deleted() {
        let world = World::new(1000).await;
        let address = "127.0.0.1:1".parse().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_system_objects(world.registry.clone(), address, stop.clone()));
        let mut deleted = Vec::new();
        for (kind, namespace, body) in system_objects(address) {
            let key = Key::new(&kind, namespace, body["metadata"]["name"].as_str().unwrap());
            let options = DeleteOptions::default();
            if let Err(status) = world.perform(Operation::Delete { key: key.clone(), options }).await {
                assert_eq!(status.code, 403, "{key}: {status}");
                continue;
            }
            if let Some(going) = world.registry.get(&key) {
                // A namespace goes when its content is said to be gone.
                let mut object = going.value().unwrap();
                object["spec"]["finalizers"] = json!([]);
                let (key, sub) = (key.clone(), Some("finalize".into()));
                world.perform(Operation::Update { key, sub, body: Body::Tree(object) }).await.unwrap();
            }
            assert!(world.registry.get(&key).is_none(), "{key}");
            tokio::time::sleep(2 * LOOK_EVERY).await;
            assert!(world.registry.get(&key).is_some(), "{key}");
            deleted.push(key.name);
        }
        // The other three namespaces cannot be deleted.
        assert_eq!(deleted, ["kube-node-lease", "extension-apiserver-authentication", "kubernetes"]);
        stop.cancel();
        task.await.unwrap();
    }
}
