//! What a service may look like, and how it may change.
//!
//! Source: `ValidateService` and `ValidateServiceUpdate` in `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{has_internal_traffic, is_external, is_headless, needs_health_port};
use crate::field::{Errors, Field};
use crate::internal;
use crate::kind::Kind;
use crate::names;
use crate::read::text;
use crate::validate::{metadata, rules};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const TRAFFIC_POLICIES: &[&str] = &["Cluster", "Local"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// The port of a node's own agent, which no load balancer may open.
const AGENT_PORT: i64 = 10_250;

/// One day: the longest that a client may be bound to one pod.
const AFFINITY_MAX: i64 = 86_400;

pub(super) fn validate(kind: &Kind, service: &Value, errors: &mut Errors) {
    kind.check_metadata(service, errors);
    let spec = Field::top(service, "spec");
    let ports = spec.get("ports");
    if ports.is_empty() && !is_headless(service) && spec.str("type") != "ExternalName" {
        errors.required(&ports, "");
    }
    by_type(service, &spec, errors);
    each_port(&ports, errors);
    metadata::labels(&spec.get("selector"), errors);
    affinity(&spec, errors);
    addresses(service, errors);
    external_addresses(&spec.get("externalIPs"), errors);
    if spec.has("type") {
        rules::one_of(&spec.get("type"), TYPES, errors);
    } else {
        errors.required(&spec.get("type"), "");
    }
    node_ports(&spec, &ports, errors);
    source_ranges(&spec, errors);
    balancer(&spec, errors);
    traffic(service, &spec, errors);
}

fn by_type(service: &Value, spec: &Field<'_, '_>, errors: &mut Errors) {
    let addresses = spec.get("clusterIPs");
    match spec.str("type") {
        of_type @ ("LoadBalancer" | "NodePort") => {
            if of_type == "LoadBalancer" {
                for port in spec.get("ports").items().filter(|port| port.int("port") == Some(AGENT_PORT)) {
                    let detail = "may not expose port 10250 externally since it is used by kubelet";
                    errors.invalid(&port, AGENT_PORT, detail);
                }
            }
            if is_headless(service) {
                let detail = format!("may not be set to 'None' for {of_type} services");
                errors.invalid(&addresses.index(0), "None", &detail);
            }
        }
        "ExternalName" => {
            for field in
                spec.among(&["clusterIPs", "ipFamilies", "ipFamilyPolicy"]).filter(|field| !field.is_empty())
            {
                errors.forbidden(&field, "may not be set for ExternalName services");
            }
            let name = spec.get("externalName");
            let plain = name.text().strip_suffix('.').unwrap_or(name.text());
            if plain.is_empty() {
                errors.required(&name, "");
            } else {
                errors.all_invalid(&name, plain, names::dns_subdomain(plain));
            }
        }
        _ => {}
    }
}

fn each_port(ports: &Field<'_, '_>, errors: &mut Errors) {
    let several = ports.items().len() > 1;
    let mut names = HashSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            rules::follows(&name, names::dns_label, errors);
            if !names.insert(name.text().to_owned()) {
                errors.duplicate(&name, name.text());
            }
        } else if several {
            errors.required(&name, "");
        }
        rules::port_number(&port.get("port"), errors);
        let protocol = port.get("protocol");
        if protocol.is_empty() {
            errors.required(&protocol, "");
        } else {
            rules::one_of(&protocol, PROTOCOLS, errors);
        }
        rules::port_number_or_name(&port.get("targetPort"), errors);
        let app_protocol = port.get("appProtocol");
        if app_protocol.is_set() {
            rules::follows(&app_protocol, names::qualified_name, errors);
        }
    }
}

fn affinity(spec: &Field<'_, '_>, errors: &mut Errors) {
    let affinity = spec.get("sessionAffinity");
    if affinity.is_empty() {
        errors.required(&affinity, "");
    } else {
        rules::one_of(&affinity, AFFINITIES, errors);
    }
    let config = spec.get("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            let missing = [&config, &client, &timeout].into_iter().find(|field| !field.is_set());
            if let Some(field) = missing {
                errors.required(field, "when session affinity type is ClientIP");
            } else if let Some(seconds) = timeout.value.as_i64().filter(|s| !(1..=AFFINITY_MAX).contains(s)) {
                errors.invalid(
                    &timeout,
                    seconds,
                    &format!("must be greater than 0 and less than {AFFINITY_MAX}"),
                );
            }
        }
        "None" if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None")
        }
        _ => {}
    }
}

/// The rules for addresses and their families, which the allocator asks for, too.
pub(super) fn addresses(service: &Value, errors: &mut Errors) {
    let spec = Field::top(service, "spec");
    if spec.str("type") == "ExternalName" {
        return;
    }
    let (address, addresses) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let all = || addresses.value.clone();
    match (address.text(), addresses.items().next()) {
        ("", Some(_)) => errors.invalid(&addresses, all(), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(&addresses, ""),
        (address, Some(first)) if first.text() != address => {
            errors.invalid(&addresses, all(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(&spec, errors);
    let mut malformed = false;
    let several = addresses.items().len() > 1;
    for (index, item) in addresses.items().enumerate() {
        if index == 0 && item.text() == "None" {
            if several {
                errors.invalid(&addresses, all(), "'None' must be the first and only value");
                malformed = true;
            }
            continue;
        }
        malformed |= !names::ip(item.text()).is_empty();
        rules::follows(&item, names::ip, errors);
    }
    if addresses.items().len() > 2 {
        errors.invalid(&addresses, all(), "may only hold up to 2 values");
    }
    if malformed {
        return;
    }
    let family = |text: &str| if text.contains(':') { "IPv6" } else { "IPv4" };
    let distinct: HashSet<&str> = addresses.items().map(|item| family(item.text())).collect();
    if several && (distinct.len() < 2 || addresses.items().len() > 2) {
        errors.invalid(&addresses, all(), "may specify no more than one IP for each IP family");
    }
    if !is_headless(service) {
        let families = spec.get("ipFamilies");
        for (index, (item, wanted)) in addresses.items().zip(families.items()).enumerate() {
            if FAMILIES.contains(&wanted.text()) && wanted.text() != family(item.text()) {
                let article =
                    format!("expected an {} value as indicated by `ipFamilies[{index}]`", wanted.text());
                errors.invalid(&item, item.text(), &article);
            }
        }
    }
}

fn families(spec: &Field<'_, '_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let families = spec.get("ipFamilies");
    for family in families.items() {
        rules::one_of(&family, FAMILIES, errors);
        if !seen.insert(family.text().to_owned()) {
            errors.duplicate(&family, family.text());
        }
    }
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() {
        rules::one_of(&policy, FAMILY_POLICIES, errors);
    }
}

/// Addresses that others lead here: none that mean something else already.
fn external_addresses(addresses: &Field<'_, '_>, errors: &mut Errors) {
    for item in addresses.items() {
        rules::follows(&item, names::ip, errors);
        let Ok(address) = item.text().parse::<IpAddr>() else { continue };
        let link_local_group = match address {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] == 0xff02,
        };
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
        };
        let unspecified = format!("may not be unspecified ({address})");
        let details = [
            (address.is_unspecified(), unspecified.as_str()),
            (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            (link_local_group, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ];
        for (_, detail) in details.into_iter().filter(|(wrong, _)| *wrong) {
            errors.invalid(&item, item.text(), detail);
        }
    }
}

fn node_ports(spec: &Field<'_, '_>, ports: &Field<'_, '_>, errors: &mut Errors) {
    if spec.str("type") == "ClusterIP" {
        for port in ports.items().filter(|port| port.has("nodePort")) {
            errors.forbidden(&port.get("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut on_nodes = HashSet::new();
    for port in ports.items().filter(|port| port.has("nodePort")) {
        let number = port.int("nodePort").unwrap_or(0);
        if !on_nodes.insert((port.str("protocol").to_owned(), number)) {
            errors.duplicate(&port.get("nodePort"), number);
        }
    }
    let mut in_cluster = HashSet::new();
    for port in ports.items() {
        let (protocol, number) = (port.str("protocol").to_owned(), port.int("port").unwrap_or(0));
        if !in_cluster.insert((protocol.clone(), number)) {
            // Upstream prints the pair that it compares as a whole port.
            let pair = json!({"protocol": protocol, "port": number, "targetPort": 0});
            errors.duplicate(&port, internal::show("ServicePort", &pair));
        }
    }
}

fn source_ranges(spec: &Field<'_, '_>, errors: &mut Errors) {
    let ranges = spec.get("loadBalancerSourceRanges");
    if ranges.is_empty() {
        return;
    }
    let at = spec.child("LoadBalancerSourceRanges");
    if spec.str("type") != "LoadBalancer" {
        errors.forbidden(&at, "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.items().enumerate() {
        let text = range.text().trim();
        errors.all_invalid(&at.index(index), text, names::cidr(text));
    }
}

fn balancer(spec: &Field<'_, '_>, errors: &mut Errors) {
    let (allocate, class) = (spec.get("allocateLoadBalancerNodePorts"), spec.get("loadBalancerClass"));
    let only = "may only be used when `type` is 'LoadBalancer'";
    if spec.str("type") == "LoadBalancer" {
        if !allocate.is_set() {
            errors.required(&allocate, "");
        }
        if class.is_set() {
            rules::follows(&class, names::qualified_name, errors);
        }
    } else {
        for field in [&allocate, &class].into_iter().filter(|field| field.is_set()) {
            errors.forbidden(field, only);
        }
    }
}

fn traffic(service: &Value, spec: &Field<'_, '_>, errors: &mut Errors) {
    let external = spec.get("externalTrafficPolicy");
    match (is_external(service), external.is_empty()) {
        (false, false) => {
            errors.invalid(&external, external.text(), "may only be set for externally-accessible services");
        }
        (true, true) => errors.required(&external, ""),
        (true, false) => rules::one_of(&external, TRAFFIC_POLICIES, errors),
        (false, true) => {}
    }
    let health = spec.get("healthCheckNodePort");
    match (needs_health_port(service), health.is_empty()) {
        (false, false) => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&health, health.value.clone(), detail);
        }
        (true, true) => errors.required(&health, ""),
        (true, false) => rules::port_number(&health, errors),
        (false, true) => {}
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.is_set() {
        rules::one_of(&internal, TRAFFIC_POLICIES, errors);
    } else if has_internal_traffic(service) {
        errors.required(&internal, "");
    }
    let distribution = spec.get("trafficDistribution");
    if distribution.is_set() {
        rules::one_of(&distribution, DISTRIBUTIONS, errors);
    }
}

pub(super) fn validate_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    kept_addresses(new, old, errors);
    let class = |service| text(service, "/spec/loadBalancerClass");
    let balanced = |service| text(service, "/spec/type") == "LoadBalancer";
    let spec = Field::top(new, "spec");
    if balanced(new) && balanced(old) && class(new) != class(old) {
        let at = spec.get("loadBalancerClass");
        errors.invalid(&at, at.value.clone(), "may not change once set");
    }
    validate(kind, new, errors);
}

/// The first address and the first family of a service stay for its life, unless it becomes, or was, another name.
fn kept_addresses(new: &Value, old: &Value, errors: &mut Errors) {
    if [new, old].iter().any(|service| text(service, "/spec/type") == "ExternalName") {
        return;
    }
    let (headless, was_headless) = (is_headless(new), is_headless(old));
    let (spec, old_spec) = (Field::top(new, "spec"), Field::top(old, "spec"));
    if !(headless && was_headless) {
        let (addresses, before) = (spec.get("clusterIPs"), old_spec.get("clusterIPs"));
        kept(&addresses, &before, "primary clusterIP can not be unset", errors);
    }
    if !headless && !was_headless {
        let (families, before) = (spec.get("ipFamilies"), old_spec.get("ipFamilies"));
        kept(&families, &before, "primary ipFamily can not be unset", errors);
    }
}

fn kept(new: &Field<'_, '_>, old: &Field<'_, '_>, unset: &str, errors: &mut Errors) {
    let is = new.items().map(|item| item.text().to_owned()).collect::<Vec<_>>();
    let was = old.items().map(|item| item.text().to_owned()).collect::<Vec<_>>();
    if was.is_empty() {
        return;
    }
    if is.is_empty() {
        return errors.invalid(&new.index(0), Value::Null, unset);
    }
    // Of lists that differ in length only the first can be compared: the second comes and goes.
    let compared = if is.len() == was.len() { is.len() } else { 1 };
    for index in (0..compared).filter(|index| is[*index] != was[*index]) {
        errors.invalid(&new.index(index), is.clone(), "may not change once set");
    }
}

pub(super) fn validate_status_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    let status = Field::top(new, "status");
    let balancer = status.get("loadBalancer");
    let ingress = balancer.get("ingress");
    if text(new, "/spec/type") != "LoadBalancer" && !ingress.is_empty() {
        return errors.forbidden(&ingress, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for point in ingress.items() {
        let (address, mode, host) = (point.get("ip"), point.get("ipMode"), point.get("hostname"));
        if !address.is_empty() {
            rules::follows(&address, names::ip, errors);
        }
        match (mode.is_set(), address.is_empty()) {
            (false, false) => errors.required(&mode, "must be specified when `ip` is set"),
            (true, true) => errors.forbidden(&mode, "may not be specified when `ip` is not set"),
            (true, false) => rules::one_of(&mode, &["Proxy", "VIP"], errors),
            (false, true) => {}
        }
        if !host.is_empty() {
            rules::follows(&host, names::dns_subdomain, errors);
            if host.text().parse::<IpAddr>().is_ok() {
                errors.invalid(&host, host.text(), "must be a DNS name, not an IP address");
            }
        }
    }
}
