//! `Service`.
//!
//! ```text
//! default -> normalize (clusterIP and clusterIPs) -> allocate -> prepare -> validate
//! ```
//! Allocation, which is the API server's, comes before validation, as upstream does it: where it refuses, no fault of
//! validation is reported beside it.

mod prepare;
mod table;
mod types;
mod validate;

pub use prepare::{node_ports, normalize, normalize_update};
pub use types::{is_headless, needs_cluster_ip, needs_health_port, needs_node_port};
pub use validate::addresses as check_addresses;

use serde_json::{Value, json};

use types::{has_internal_traffic, is_external};

use super::strategy::{PLAIN, clear};
use super::{Borrowed, Named, PROXY_VERBS, STATUS, Static, USUAL, core};
use crate::addresses::{cidr_warnings, ip_warning};
use crate::defaults::{each, fill_absent, fill_empty};
use crate::kind::{Exclusive, Kind, Selectable, Strategy};
use crate::names;
use crate::read::{int, list, text};

/// The row of `Service`.
pub static SERVICE: Kind = Kind {
    kind: Borrowed("Service"),
    plural: Borrowed("services"),
    singular: Borrowed("service"),
    short_names: Borrowed("svc"),
    categories: Borrowed("all"),
    schema: Named("io.k8s.api.core.v1.Service"),
    claims: Some(Exclusive::ServiceAddresses),
    name_rule: names::dns_label,
    subresources: Borrowed(&[core("proxy", "ServiceProxyOptions", PROXY_VERBS), STATUS]),
    selectable: Borrowed(&[
        Selectable::text("spec.clusterIP", &["/spec/clusterIP"]),
        Selectable::text("spec.type", &["/spec/type"]),
    ]),
    table: Static(&table::TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static STRATEGY: Strategy = Strategy {
    default: |_, object| default(object),
    prepare_create: |_, service| service["status"] = json!({"loadBalancer": {}}),
    prepare_update: |_, new, old| prepare::prepare_update(new, old),
    validate: validate::validate,
    validate_update: validate::validate_update,
    validate_status_update: validate::validate_status_update,
    warnings: |_, new, old| warnings(new, old),
    create_on_update: true,
    delete_answers_object: true,
    ..PLAIN
};

fn default(service: &mut Value) {
    each(service, "spec.ports", &mut |port| {
        let number = int(port, "/port");
        fill_empty(port, "targetPort", number);
    });
    each(service, "spec", &mut default_affinity);
    let (external, in_cluster) = (is_external(service), has_internal_traffic(service));
    let balanced = text(service, "/spec/type") == "LoadBalancer";
    each(service, "spec", &mut |spec| {
        if external {
            fill_empty(spec, "externalTrafficPolicy", "Cluster");
        }
        if in_cluster {
            fill_absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if balanced {
            fill_absent(spec, "allocateLoadBalancerNodePorts", true);
        }
    });
    // An address that a load balancer was given is a virtual one unless it says otherwise.
    each(service, "status.loadBalancer.ingress", &mut |point| {
        if balanced && !text(point, "/ip").is_empty() {
            fill_absent(point, "ipMode", "VIP");
        }
    });
}

fn default_affinity(spec: &mut Value) {
    let timeout = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds");
    match text(spec, "/sessionAffinity") {
        "None" => clear(spec, "sessionAffinityConfig"),
        "ClientIP" if timeout.is_none_or(Value::is_null) => {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
        }
        _ => {}
    }
}

/// Source: `pkg/api/service/warnings.go`.
fn warnings(service: &Value, _: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    let texts = |pointer| list(service, pointer).iter().filter_map(Value::as_str).enumerate();
    let external_name = text(service, "/spec/type") == "ExternalName";
    let external_ips = !list(service, "/spec/externalIPs").is_empty();
    if service["metadata"]["annotations"].get(validate::TOPOLOGY_HINTS).is_some() {
        let (old, new) = (validate::TOPOLOGY_HINTS, validate::TOPOLOGY_MODE);
        found.push(format!("annotation {old} is deprecated, please use {new} instead"));
    }
    if !is_headless(service) {
        found.extend(
            texts("/spec/clusterIPs").filter_map(|(i, ip)| ip_warning(&format!("spec.clusterIPs[{i}]"), ip)),
        );
    } else {
        let ignored = [
            ("loadBalancerIP", !text(service, "/spec/loadBalancerIP").is_empty()),
            ("externalIPs", external_ips),
            ("SessionAffinity", text(service, "/spec/sessionAffinity") != "None"),
        ];
        let given = ignored.into_iter().filter(|(_, given)| *given);
        found.extend(given.map(|(field, _)| format!("spec.{field} is ignored for headless services")));
    }
    found.extend(
        texts("/spec/externalIPs").filter_map(|(i, ip)| ip_warning(&format!("spec.externalIPs[{i}]"), ip)),
    );
    if external_ips && !is_headless(service) && !external_name {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    found.extend(ip_warning("spec.loadBalancerIP", text(service, "/spec/loadBalancerIP")));
    for (i, range) in texts("/spec/loadBalancerSourceRanges") {
        found.extend(cidr_warnings(&format!("spec.loadBalancerSourceRanges[{i}]"), range));
    }
    if external_ips && external_name {
        found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
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
mod tests;
