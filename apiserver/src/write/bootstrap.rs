//! What a cluster has from its first moment.

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::{Key, KindRef, kinds};
use serde_json::{Value, json};

use super::Registry;
use super::operation::{Body, Context, Operation};
use crate::identity::Identity;

impl Registry {
    /// Makes what every cluster has and nobody else makes; what is there already stays as it is.
    pub async fn found_cluster(self: &Arc<Self>, address: SocketAddr) {
        let user = Identity::new("system:apiserver", &["system:masters", "system:authenticated"]);
        let context = Context { field_manager: "kube-apiserver".into(), ..Context::of(user) };
        for (kind, namespace, body) in founding(address) {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            // Looked for first: a second Service of that address would be refused before its name is.
            if self.get(&Key::new(&kind, namespace, name)).is_some() {
                continue;
            }
            let what = kind.qualified_kind();
            let operation =
                Operation::Create { kind, namespace: namespace.into(), sub: None, body: Body::Tree(body) };
            match self.perform(&context, operation).await.result {
                Ok(_) => {}
                Err(status) => tracing::error!(kind = what, %status, "cannot found the cluster"),
            }
        }
    }
}

fn founding(address: SocketAddr) -> Vec<(KindRef, &'static str, Value)> {
    let namespace = |name: &str| {
        let body = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        (kinds::NAMESPACE.handle(), "", body)
    };
    let service = json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": crate::pki::SERVICE_ADDRESS,
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": address.port()}],
            "type": "ClusterIP",
            "sessionAffinity": "None",
        },
    });
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
        (kinds::SERVICE.handle(), "default", service),
    ]
}
