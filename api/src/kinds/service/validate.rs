//! What a service may look like, and how it may change.
//!
//! Source: `ValidateService` and `ValidateServiceUpdate` in `pkg/apis/core/validation/validation.go`.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::types::{has_internal_traffic, is_external, is_headless, needs_health_port};
use crate::addresses;
use crate::field::{Errors, Field, Path};
use crate::internal;
use crate::kind::Kind;
use crate::names;
use crate::read::{int, text};
use crate::validate::metadata;
use crate::validate::rules::{Rule::*, check};

const TYPES: &str = "ClusterIP ExternalName LoadBalancer NodePort";
const FAMILIES: &str = "IPv4 IPv6";
const FAMILY_POLICIES: &str = "PreferDualStack RequireDualStack SingleStack";
const TRAFFIC_POLICIES: &str = "Cluster Local";
const DISTRIBUTIONS: &str = "PreferClose PreferSameZone PreferSameNode";

/// The old name of an annotation, and the new one.
pub(super) const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
pub(super) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// What `spec.loadBalancerSourceRanges` was before it was a field.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

/// One day: the longest that a client may be bound to one pod.
const AFFINITY_MAX: i64 = 86_400;

pub(super) fn validate(kind: &Kind, service: &Value, errors: &mut Errors) {
    kind.check_metadata(service, errors);
    let meta = Field::top(service, "metadata");
    let annotations = meta.get("annotations");
    let (hints, mode) = (annotations.get(TOPOLOGY_HINTS), annotations.get(TOPOLOGY_MODE));
    if hints.is_set() && mode.is_set() && hints.value != mode.value {
        let detail = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.invalid(&annotations.key(TOPOLOGY_MODE), mode.text(), &detail);
    }
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
    NeededOneOf(TYPES).check(&spec.get("type"), errors);
    node_ports(&spec, &ports, errors);
    source_ranges(&spec, &annotations, errors);
    balancer(&spec, errors);
    traffic(service, &spec, errors);
}

fn by_type(service: &Value, spec: &Field<'_, '_>, errors: &mut Errors) {
    let addresses = spec.get("clusterIPs");
    match spec.str("type") {
        of_type @ ("LoadBalancer" | "NodePort") if is_headless(service) => {
            let detail = format!("may not be set to 'None' for {of_type} services");
            errors.invalid(&addresses.index(0), "None", &detail);
        }
        "ExternalName" => {
            let never = Never("may not be set for ExternalName services");
            check(spec, &[("clusterIPs? ipFamilies? ipFamilyPolicy?", never)], errors);
            let name = spec.get("externalName");
            let plain = Value::from(name.text().strip_suffix('.').unwrap_or(name.text()));
            NeededName(names::dns_subdomain).check(&Field::new(&name, &plain), errors);
        }
        _ => {}
    }
}

fn each_port(ports: &Field<'_, '_>, errors: &mut Errors) {
    let several = ports.items().len() > 1;
    let mut taken = HashSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if !name.is_empty() {
            Name(names::dns_label).check(&name, errors);
            if !taken.insert(name.text()) {
                errors.duplicate(&name, name.text());
            }
        } else if several {
            errors.required(&name, "");
        }
        let table = [
            ("port", Port),
            ("protocol", NeededOneOf("SCTP TCP UDP")),
            ("targetPort", PortOrName),
            ("*appProtocol", Name(names::qualified_name)),
        ];
        check(&port, &table, errors);
    }
}

fn affinity(spec: &Field<'_, '_>, errors: &mut Errors) {
    let affinity = spec.get("sessionAffinity");
    NeededOneOf("ClientIP None").check(&affinity, errors);
    let config = spec.get("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            let missing = [&config, &client, &timeout].into_iter().find(|field| !field.is_set());
            if let Some(field) = missing {
                errors.required(field, "when session affinity type is ClientIP");
            } else if !timeout.value.as_i64().is_some_and(|seconds| (1..=AFFINITY_MAX).contains(&seconds)) {
                errors.wrong(&timeout, &format!("must be greater than 0 and less than {AFFINITY_MAX}"));
            }
        }
        "None" if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None")
        }
        _ => {}
    }
}

/// The rules for addresses and their families, which the allocator asks for, too.
pub fn addresses(service: &Value, errors: &mut Errors) {
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
        malformed |= addresses::ip(item.text()).is_none();
        Name(names::ip).check(&item, errors);
    }
    if addresses.items().len() > 2 {
        errors.invalid(&addresses, all(), "may only hold up to 2 values");
    }
    if malformed {
        return;
    }
    let family = |text: &str| if text.contains(':') { "IPv6" } else { "IPv4" };
    let distinct: HashSet<&str> = addresses.items().map(|item| family(item.text())).collect();
    if several && distinct.len() < 2 {
        errors.invalid(&addresses, all(), "may specify no more than one IP for each IP family");
    }
    if !is_headless(service) {
        let families = spec.get("ipFamilies");
        for (index, (item, wanted)) in addresses.items().zip(families.items()).enumerate() {
            if names::is_one_of(wanted.text(), FAMILIES) && wanted.text() != family(item.text()) {
                let article =
                    format!("expected an {} value as indicated by `ipFamilies[{index}]`", wanted.text());
                errors.invalid(&item, item.text(), &article);
            }
        }
    }
}

fn families(spec: &Field<'_, '_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for family in spec.get("ipFamilies").items() {
        OneOf(FAMILIES).check(&family, errors);
        if !seen.insert(family.text()) {
            errors.duplicate(&family, family.text());
        }
    }
    check(spec, &[("*ipFamilyPolicy", OneOf(FAMILY_POLICIES))], errors);
}

/// `externalIPs`: addresses whose traffic is routed to the cluster from outside. None may be unspecified, loopback or
/// link-local.
fn external_addresses(addresses: &Field<'_, '_>, errors: &mut Errors) {
    for item in addresses.items() {
        Name(names::ip).check(&item, errors);
        let Some(address) = addresses::ip(item.text()).map(|ip| ip.to_canonical()) else { continue };
        let (link_local, link_local_group) = match address {
            IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
            IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
        };
        let unspecified = format!("may not be unspecified ({})", item.text());
        let details = [
            (address.is_unspecified(), unspecified.as_str()),
            (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            (link_local_group, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ];
        for (_, detail) in details.into_iter().filter(|(wrong, _)| *wrong) {
            errors.wrong(&item, detail);
        }
    }
}

fn node_ports(spec: &Field<'_, '_>, ports: &Field<'_, '_>, errors: &mut Errors) {
    if spec.str("type") == "ClusterIP" {
        for port in ports.items() {
            check(&port, &[("nodePort?", Never("may not be used when `type` is 'ClusterIP'"))], errors);
        }
    }
    let mut on_nodes = HashSet::new();
    for port in ports.items().filter(|port| port.has("nodePort")) {
        let number = port.int("nodePort").unwrap_or(0);
        if !on_nodes.insert((port.str("protocol"), number)) {
            errors.duplicate(&port.get("nodePort"), number);
        }
    }
    let mut in_cluster = HashSet::new();
    for port in ports.items() {
        let (protocol, number) = (port.str("protocol"), port.int("port").unwrap_or(0));
        if !in_cluster.insert((protocol, number)) {
            // Upstream prints the pair that it compares as a whole port.
            let pair = json!({"protocol": protocol, "port": number, "targetPort": 0});
            errors.duplicate(&port, internal::show("ServicePort", &pair));
        }
    }
}

/// The ranges of clients that a load balancer lets in, from the field or the older annotation. Blanks around a range
/// are ignored.
fn source_ranges(spec: &Field<'_, '_>, annotations: &Field<'_, '_>, errors: &mut Errors) {
    let (ranges, annotation) = (spec.get("loadBalancerSourceRanges"), annotations.get(SOURCE_RANGES));
    let field = spec.child("LoadBalancerSourceRanges");
    let at = match (ranges.is_empty(), annotation.is_set()) {
        (false, _) => field,
        (true, true) => annotations.key(SOURCE_RANGES),
        (true, false) => return,
    };
    if spec.str("type") != "LoadBalancer" {
        errors.forbidden(&at, ONLY_BALANCED);
    }
    for (index, range) in ranges.items().enumerate() {
        errors.all_invalid(&at.index(index), range.text().trim(), names::cidr(range.text().trim()));
    }
    if ranges.is_empty() && !annotation.text().trim().is_empty() {
        for range in annotation.text().split(',').map(str::trim) {
            errors.all_invalid(&at, range, names::cidr(range));
        }
    }
}

fn balancer(spec: &Field<'_, '_>, errors: &mut Errors) {
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    match (spec.str("type") == "LoadBalancer", allocate.is_set()) {
        (true, false) => errors.required(&Path::root("allocateLoadBalancerNodePorts"), ""),
        (false, true) => errors.forbidden(&allocate, ONLY_BALANCED),
        _ => {}
    }
    balancer_class(spec, errors);
}

fn balancer_class(spec: &Field<'_, '_>, errors: &mut Errors) {
    let balanced = spec.str("type") == "LoadBalancer";
    let rule = if balanced { Name(names::qualified_name) } else { Never(ONLY_BALANCED) };
    check(spec, &[("*loadBalancerClass", rule)], errors);
}

fn traffic(service: &Value, spec: &Field<'_, '_>, errors: &mut Errors) {
    let external = spec.get("externalTrafficPolicy");
    if is_external(service) {
        NeededOneOf(TRAFFIC_POLICIES).check(&external, errors);
    } else if !external.is_empty() {
        errors.wrong(&external, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    match (needs_health_port(service), health.is_empty()) {
        (false, false) => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.wrong(&health, detail);
        }
        (true, true) => errors.required(&health, ""),
        (true, false) => Port.check(&health, errors),
        (false, true) => {}
    }
    let internal = spec.get("internalTrafficPolicy");
    if !internal.is_set() && has_internal_traffic(service) {
        errors.required(&internal, "");
    }
    let table =
        [("*internalTrafficPolicy", OneOf(TRAFFIC_POLICIES)), ("*trafficDistribution", OneOf(DISTRIBUTIONS))];
    check(spec, &table, errors);
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
    balancer_class(&spec, errors);
    let health = |service| int(service, "/spec/healthCheckNodePort");
    if needs_health_port(new) && needs_health_port(old) && health(new) != health(old) {
        errors.forbidden(&spec.get("healthCheckNodePort"), "field is immutable");
    }
    validate(kind, new, errors);
}

/// The first address and the first family of a service never change, unless its type becomes or was `ExternalName`.
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
        if errors.is_full() {
            return;
        }
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
        check(&point, &[("ip?", Name(names::ip))], errors);
        let mode = point.get("ipMode");
        match (mode.is_set(), point.has("ip")) {
            (false, true) => errors.required(&mode, "must be specified when `ip` is set"),
            (true, false) => errors.forbidden(&mode, "may not be specified when `ip` is not set"),
            (true, true) => OneOf("Proxy VIP").check(&mode, errors),
            (false, false) => {}
        }
        check(&point, &[("hostname?", Name(names::dns_subdomain))], errors);
        if addresses::ip(point.str("hostname")).is_some() {
            errors.wrong(&point.get("hostname"), "must be a DNS name, not an IP address");
        }
    }
}
