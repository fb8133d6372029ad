//! Which parts a service has, by its type and a few of its fields.

use serde_json::Value;

use crate::read::{list, text};

/// Whether a service of this type has an address in the cluster: every type but `ExternalName`, which only stands for
/// another name in DNS.
pub fn needs_cluster_ip(service: &Value) -> bool {
    text(service, "/spec/type") != "ExternalName"
}

/// Whether traffic inside the cluster has a policy: for every type that is known and has an address.
pub fn has_internal_traffic(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether a service of this type may have ports on nodes.
pub fn needs_node_port(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "NodePort" | "LoadBalancer")
}

/// Whether a service needs a port on nodes that answers whether they have an endpoint.
pub fn needs_health_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Whether a service can be reached from outside the cluster.
pub fn is_external(service: &Value) -> bool {
    needs_node_port(service)
        || (text(service, "/spec/type") == "ClusterIP" && !list(service, "/spec/externalIPs").is_empty())
}

/// Whether a service is headless: resolved to its pods instead of an address of its own.
pub fn is_headless(service: &Value) -> bool {
    matches!(list(service, "/spec/clusterIPs"), [only] if only == "None")
}
