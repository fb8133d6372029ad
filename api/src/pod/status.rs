//! The rules for what is said about a pod.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::resources::is_sidecar;
use super::validate::annotation_updates;
use crate::field::{Errors, Field, Path};
use crate::internal;
use crate::names;
use crate::validate::rules;

/// The rules for a write to `/status`, beyond those of `metadata`. (new, old)
pub fn validate_pod_status_update(new: &Value, old: &Value, errors: &mut Errors) {
    annotation_updates(new, old, errors);
    let path = Path::root("status");
    let now = Field::new(&path, &new["status"]);
    let before = Field::new(&path, &old["status"]);
    conditions(now.raw("conditions"), errors);
    let node = now.get("nominatedNodeName");
    if !node.is_empty() && node.value != before.raw("nominatedNodeName") {
        rules::follows(&node, names::dns_subdomain, errors);
    }
    rules::immutable(&now.get("qosClass"), &before.get("qosClass"), errors);
    let policy = old["spec"]["restartPolicy"].as_str().unwrap_or_default();
    let sidecars: HashSet<&str> = old["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|container| is_sidecar(container))
        .filter_map(|container| container["name"].as_str())
        .collect();
    let none = HashSet::new();
    for (list, policy, restarting) in [
        ("containerStatuses", policy, &none),
        ("initContainerStatuses", policy, &sidecars),
        ("ephemeralContainerStatuses", "Never", &none),
    ] {
        states(&now.get(list), &before.get(list), policy, restarting, errors);
    }
    claim_statuses(&now.get("resourceClaimStatuses"), &new["spec"]["resourceClaims"], errors);
    pod_addresses(&now.get("podIPs"), errors);
    host_addresses(&now.get("hostIPs"), now.str("hostIP"), errors);
}

/// Types of conditions; upstream's paths lie under `metadata`, and in capitals.
fn conditions(conditions: &Value, errors: &mut Errors) {
    let path = Path::root("metadata");
    let path = path.child("conditions");
    for condition in Field::new(&path, conditions).items() {
        let kind = condition.str("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            errors.all_invalid(&condition.child("Type"), kind, names::qualified_name(kind));
        }
    }
}

/// A container that ended stays ended, unless it may be started again.
fn states(now: &Field, before: &Field, policy: &str, restarting: &HashSet<&str>, errors: &mut Errors) {
    if policy == "Always" {
        return;
    }
    for ended in before.items() {
        let state = ended.get("state");
        let end = state.get("terminated");
        let failed = end.int("exitCode").unwrap_or(0) != 0;
        if !end.is_set() || (failed && policy == "OnFailure") || restarting.contains(ended.str("name")) {
            continue;
        }
        for status in now.items().filter(|status| status.str("name") == ended.str("name")) {
            if !status.get("state").get("terminated").is_set() {
                errors.forbidden(&ended.get("state"), "may not be transitioned to non-terminated state");
            }
        }
    }
}

fn claim_statuses(statuses: &Field, claims: &Value, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for status in statuses.items() {
        let name = status.get("name");
        let known = |claim: &Value| claim["name"].as_str() == Some(name.text());
        if !claims.as_array().into_iter().flatten().any(known) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&name, name.text(), detail);
        }
        if !taken.insert(name.text()) {
            errors.duplicate(&name, name.text());
        }
        for claim in status.among(&["resourceClaimName"]) {
            errors.all_invalid(&name, claim.text(), names::dns_subdomain(claim.text()));
        }
    }
}

fn pod_addresses(addresses: &Field, errors: &mut Errors) {
    for address in addresses.items() {
        errors.all_invalid(&address, address.str("ip"), names::ip(address.str("ip")));
    }
    if addresses.items().len() > 1 {
        one_of_each_family(addresses, "PodIP", errors);
        repeats(addresses, "PodIP", errors);
    }
}

fn host_addresses(addresses: &Field, single: &str, errors: &mut Errors) {
    for (index, address) in addresses.items().enumerate() {
        let ip = address.get("ip");
        if index == 0 && ip.text() != single {
            errors.invalid(&ip, ip.text(), "must be equal to `hostIP`");
        }
    }
    for address in addresses.items() {
        errors.all_invalid(&address, address.str("ip"), names::ip(address.str("ip")));
    }
    if addresses.items().len() > 1 {
        repeats(addresses, "HostIP", errors);
        one_of_each_family(addresses, "HostIP", errors);
    }
}

fn one_of_each_family(addresses: &Field, shown_as: &str, errors: &mut Errors) {
    let parsed: Vec<Option<IpAddr>> = addresses.items().map(|a| a.str("ip").parse().ok()).collect();
    let four = parsed.iter().flatten().filter(|ip| ip.is_ipv4()).count();
    let six = parsed.iter().flatten().filter(|ip| ip.is_ipv6()).count();
    if four == 0 || six == 0 || parsed.len() > 2 {
        let shown = internal::show_list(shown_as, addresses.value);
        errors.invalid(addresses, shown, "may specify no more than one IP for each IP family");
    }
}

fn repeats(addresses: &Field, shown_as: &str, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for address in addresses.items() {
        if !taken.insert(address.str("ip")) {
            errors.duplicate(&address, internal::show(shown_as, address.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(policy: &str, old: Value, new: Value) -> Vec<String> {
        let pod = |status: Value| json!({"spec": {"restartPolicy": policy}, "status": status});
        let mut errors = Errors::new();
        validate_pod_status_update(&pod(new), &pod(old), &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    fn container(state: &str, code: i64) -> Value {
        let state = match state {
            "terminated" => json!({"terminated": {"exitCode": code}}),
            other => json!({other: {}}),
        };
        json!({"containerStatuses": [{"name": "c", "state": state}]})
    }

    #[test]
    fn what_has_ended_stays_ended_unless_it_may_start_again() {
        let refused =
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"];
        for (policy, code, right) in
            [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
        {
            let found = faults(policy, container("terminated", code), container("running", 0));
            let expected = if right { &[][..] } else { &refused[..] };
            assert_eq!(found, expected, "case: {policy} {code}");
        }
    }

    #[test]
    fn addresses() {
        let cases = [
            (json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}), vec![]),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
                vec![
                    "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]}),
                vec!["status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"],
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(faults("Always", json!({}), status.clone()), expected, "case: {status}");
        }
    }
}
