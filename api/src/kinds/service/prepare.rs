//! How a changed service takes over what a client that knows less left out, and drops what its new type has no use for.
//!
//! Source: `patchAllocatedValues`, `normalizeClusterIPs` and `dropTypeDependentFields` in `pkg/registry/core/service`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::types::{is_external, needs_cluster_ip, needs_health_port, needs_node_port};
use crate::kinds::strategy::{clear, keep};
use crate::read::{int, list, text};

/// Puts a changed service in order before validation.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    drop_by_type(new, old);
}

/// Makes `clusterIP` and `clusterIPs` of a new service agree, where only the old field is given.
pub fn normalize(new: &mut Value) {
    let address = text(new, "/spec/clusterIP").to_owned();
    if !address.is_empty() && list(new, "/spec/clusterIPs").is_empty() {
        new["spec"]["clusterIPs"] = json!([address]);
    }
}

/// The same for a changed service: the field that changed leads. What was allocated before and is not given stays.
pub fn normalize_update(new: &mut Value, old: &Value) {
    take_over(new, old);
    let (was, is) = (text(old, "/spec/clusterIP").to_owned(), text(new, "/spec/clusterIP").to_owned());
    let (were, are) = (list(old, "/spec/clusterIPs").to_vec(), list(new, "/spec/clusterIPs").to_vec());
    if was == is && are.is_empty() && !were.is_empty() {
        new["spec"]["clusterIPs"] = were.into();
    } else if was != is && were == are {
        match is.as_str() {
            "" => clear(&mut new["spec"], "clusterIPs"),
            _ => new["spec"]["clusterIPs"] = json!([is]),
        }
    }
}

fn take_over(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        if text(new, "/spec/clusterIP").is_empty() {
            keep(&mut new["spec"], &old["spec"], "clusterIP");
        }
        if list(new, "/spec/clusterIPs").is_empty()
            && text(new, "/spec/clusterIP") == text(old, "/spec/clusterIP")
        {
            keep(&mut new["spec"], &old["spec"], "clusterIPs");
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        take_over_node_ports(new, old);
    }
    if needs_health_port(old) && needs_health_port(new) && int(new, "/spec/healthCheckNodePort") == 0 {
        keep(&mut new["spec"], &old["spec"], "healthCheckNodePort");
    }
}

/// A port of the same name keeps its port on nodes, unless another one asks for just that.
fn take_over_node_ports(new: &mut Value, old: &Value) {
    let of = |service: &Value| {
        node_ports(service).into_iter().filter(|port| *port != 0).collect::<BTreeSet<i64>>()
    };
    let mut used: BTreeSet<i64> = of(old).intersection(&of(new)).copied().collect();
    let by_name: BTreeMap<&str, i64> =
        list(old, "/spec/ports").iter().map(|port| (text(port, "/name"), int(port, "/nodePort"))).collect();
    for port in new["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if int(port, "/nodePort") != 0 {
            continue;
        }
        let Some(&known) = by_name.get(text(port, "/name")) else { continue };
        if known != 0 && used.insert(known) {
            port["nodePort"] = known.into();
        }
    }
}

/// The port on nodes of each port of a service; 0 for none.
pub fn node_ports(service: &Value) -> Vec<i64> {
    list(service, "/spec/ports").iter().map(|port| int(port, "/nodePort")).collect()
}

/// Fields that the old type filled in and the new one has no use for go, unless the client changed them, too: then
/// validation tells.
fn drop_by_type(new: &mut Value, old: &Value) {
    let lost = |needs: fn(&Value) -> bool, new: &Value| needs(old) && !needs(new);
    let mut gone = Vec::new();
    if lost(needs_cluster_ip, new) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if lost(needs_health_port, new) {
        gone.push("healthCheckNodePort");
    }
    if lost(|service| text(service, "/spec/type") == "LoadBalancer", new) {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if lost(is_external, new) {
        gone.push("externalTrafficPolicy");
    }
    let same_ports = node_ports(new) == node_ports(old);
    let drop_ports = lost(needs_node_port, new) && same_ports;
    // Both address fields stand for one value.
    let addresses = |service: &Value| {
        (text(service, "/spec/clusterIP").to_owned(), list(service, "/spec/clusterIPs").to_vec())
    };
    let same_addresses = addresses(new) == addresses(old);
    let Some(spec) = new.get_mut("spec") else { return };
    for field in gone {
        let same = match field {
            "clusterIP" | "clusterIPs" => same_addresses,
            _ => spec.get(field) == old["spec"].get(field),
        };
        if same {
            clear(spec, field);
        }
    }
    if drop_ports {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            clear(port, "nodePort");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({"spec": spec})
    }

    #[test]
    fn what_was_allocated_stays_unless_changed() {
        let old = service(json!({"type": "NodePort", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"],
            "ports": [{"name": "a", "port": 1, "nodePort": 30_001}, {"name": "b", "port": 2, "nodePort": 30_002}]}));
        let cases = [
            (
                "nothing given",
                json!({"type": "NodePort", "ports": [{"name": "b", "port": 2}]}),
                "10.0.0.7",
                vec![30_002],
            ),
            (
                "another takes the port",
                json!({"type": "NodePort", "ports": [{"name": "b", "port": 2}, {"name": "c", "port": 3, "nodePort": 30_002}]}),
                "10.0.0.7",
                vec![0, 30_002],
            ),
            (
                "the address alone changes",
                json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["10.0.0.7"], "ports": []}),
                "None",
                vec![],
            ),
        ];
        for (name, spec, address, ports) in cases {
            let mut new = service(spec);
            normalize_update(&mut new, &old);
            assert_eq!(new["spec"]["clusterIPs"], json!([address]), "case: {name}");
            assert_eq!(node_ports(&new), ports, "case: {name}");
        }
    }

    #[test]
    fn another_type_drops_what_it_has_no_use_for() {
        let old = service(
            json!({"type": "LoadBalancer", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true, "ports": [{"port": 1, "nodePort": 30_001}]}),
        );
        let mut named = old.clone();
        named["spec"]["type"] = "ExternalName".into();
        drop_by_type(&mut named, &old);
        assert_eq!(named["spec"], json!({"type": "ExternalName", "ports": [{"port": 1}]}));
        let mut plain = old.clone();
        plain["spec"]["type"] = "ClusterIP".into();
        plain["spec"]["externalTrafficPolicy"] = "Local".into();
        drop_by_type(&mut plain, &old);
        assert_eq!(
            plain["spec"]["externalTrafficPolicy"], "Local",
            "what the client changed stays, to be refused"
        );
        assert_eq!(plain["spec"]["clusterIP"], "10.0.0.7");
        assert_eq!(plain["spec"].get("allocateLoadBalancerNodePorts"), None);
    }
}
