//! `Service`.
//!
//! ```text
//! default -> normalize (clusterIP and clusterIPs) -> allocate -> prepare -> validate
//! ```
//! Allocation comes before validation, as upstream does it: what it refuses is told alone.

pub mod allocate;
mod prepare;
mod table;
mod validate;

use serde_json::{Value, json};

use super::strategy::{PLAIN, map};
use super::{PROXY_VERBS, STATUS, VERBS, core};
use crate::field::is_zero;
use crate::kind::{Kind, Selectable, Strategy};
use crate::names;
use crate::read::{list, text};

/// The row of `Service`.
pub static SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Service",
    verbs: VERBS,
    name_rule: names::dns_label,
    subresources: &[core("proxy", "ServiceProxyOptions", PROXY_VERBS), STATUS],
    selectable: &[
        Selectable::text("spec.clusterIP", &["/spec/clusterIP"]),
        Selectable::text("spec.type", &["/spec/type"]),
    ],
    table: &table::TABLE,
    strategy: &STRATEGY,
    view: None,
};

static STRATEGY: Strategy = Strategy {
    default,
    prepare_create: |service| service["status"] = json!({}),
    prepare_update: prepare::prepare_update,
    validate: validate::validate,
    validate_update: validate::validate_update,
    validate_status_update: validate::validate_status_update,
    warnings,
    create_on_update: true,
    delete_answers_object: true,
    ..PLAIN
};

/// Whether a service of this type has an address in the cluster.
pub fn needs_cluster_ip(service: &Value) -> bool {
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

fn default(service: &mut Value) {
    let spec = map(service, "spec");
    let filled = |value: Option<&Value>| value.is_some_and(|value| !is_zero(value));
    if !filled(spec.get("sessionAffinity")) {
        spec.insert("sessionAffinity".into(), "None".into());
    }
    match spec["sessionAffinity"].as_str() {
        Some("None") => drop(spec.shift_remove("sessionAffinityConfig")),
        Some("ClientIP") => {
            let config = spec
                .get("sessionAffinityConfig")
                .and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
            if config.is_none_or(Value::is_null) {
                spec.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
            }
        }
        _ => {}
    }
    if !filled(spec.get("type")) {
        spec.insert("type".into(), "ClusterIP".into());
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default_port(port);
    }
    let (external, of_cluster) = (is_external(service), needs_cluster_ip(service));
    let balanced = text(service, "/spec/type") == "LoadBalancer";
    let spec = map(service, "spec");
    if external && !filled(spec.get("externalTrafficPolicy")) {
        spec.insert("externalTrafficPolicy".into(), "Cluster".into());
    }
    if of_cluster && spec.get("internalTrafficPolicy").is_none_or(Value::is_null) {
        spec.insert("internalTrafficPolicy".into(), "Cluster".into());
    }
    if balanced && spec.get("allocateLoadBalancerNodePorts").is_none_or(Value::is_null) {
        spec.insert("allocateLoadBalancerNodePorts".into(), true.into());
    }
    if balanced {
        default_ingress(service);
    }
}

fn default_port(port: &mut Value) {
    let Some(port) = port.as_object_mut() else { return };
    if port.get("protocol").is_none_or(is_zero) {
        port.insert("protocol".into(), "TCP".into());
    }
    if port.get("targetPort").is_none_or(is_zero) {
        port.insert("targetPort".into(), port.get("port").cloned().unwrap_or_else(|| 0.into()));
    }
}

/// An address that a load balancer was given is a virtual one unless it says otherwise.
fn default_ingress(service: &mut Value) {
    let points = service.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
    for point in points.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !point.get("ip").is_none_or(is_zero) && point.get("ipMode").is_none_or(Value::is_null) {
            point.insert("ipMode".into(), "VIP".into());
        }
    }
}

fn warnings(service: &Value, _: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    let external_name = text(service, "/spec/type") == "ExternalName";
    if !list(service, "/spec/externalIPs").is_empty() {
        found.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
        if external_name {
            found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
    }
    if !external_name && !text(service, "/spec/externalName").is_empty() {
        found.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if text(service, "/spec/trafficDistribution") == "PreferClose" {
        found.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_filled_in() {
        let cases = [
            (
                json!({"ports": [{"port": 80}]}),
                json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None", "type": "ClusterIP",
                    "internalTrafficPolicy": "Cluster"}),
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.example"}),
                json!({"type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None"}),
            ),
            (
                json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": ""}]}),
                json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": 1, "protocol": "TCP"}],
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}}, "externalTrafficPolicy": "Cluster",
                    "internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
            ),
        ];
        for (spec, expected) in cases {
            let mut service = json!({"spec": spec});
            default(&mut service);
            assert_eq!(service["spec"], expected);
            default(&mut service);
            assert_eq!(service["spec"], expected, "filling in twice changes nothing");
        }
    }
}
