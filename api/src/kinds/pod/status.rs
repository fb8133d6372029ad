//! The rules for what is said about a pod.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::addresses;
use crate::field::{Errors, Fault, Field, Path};
use crate::internal;
use crate::names;
use crate::podspec::{USER_ID, annotation_updates};
use crate::read::{int, list, text};
use crate::validate::rules::{self, Rule::*, check};

/// The rules for a write to `/status`, beyond those of `metadata`. (new, old)
pub fn validate_pod_status_update(new: &Value, old: &Value, errors: &mut Errors) {
    annotation_updates(new, old, errors);
    let (now, before) = (Field::top(new, "status"), Field::top(old, "status"));
    conditions(now.raw("conditions"), errors);
    if now.str("nominatedNodeName") != before.str("nominatedNodeName") {
        check(&now, &[("nominatedNodeName?", Name(names::dns_subdomain))], errors);
    }
    rules::immutable(&now.get("qosClass"), &before.get("qosClass"), errors);
    for (statuses, containers) in STATUSES {
        states(&now.get(statuses), &before.get(statuses), &old["spec"], containers, errors);
    }
    claim_statuses(&now.get("resourceClaimStatuses"), &new["spec"]["resourceClaims"], errors);
    pod_addresses(&now.get("podIPs"), errors);
    host_addresses(&now.get("hostIPs"), now.str("hostIP"), errors);
    for (statuses, _) in STATUSES {
        users(&now.get(statuses), text(new, "/spec/os/name"), errors);
    }
}

/// Statuses, and the containers that they are about.
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "/containers"),
    ("initContainerStatuses", "/initContainers"),
    ("ephemeralContainerStatuses", "/ephemeralContainers"),
];

/// Types of conditions; upstream's paths lie under `metadata`, and in capitals.
fn conditions(conditions: &Value, errors: &mut Errors) {
    let path = Path::root("metadata");
    for condition in Field::new(&path.child("conditions"), conditions).items() {
        let kind = condition.str("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            errors.all_invalid(&condition.child("Type"), kind, names::qualified_name(kind));
        }
    }
}

/// A container that ended stays ended, unless it may be started again.
fn states(now: &Field, before: &Field, spec: &Value, containers: &str, errors: &mut Errors) {
    let mut by_name: HashMap<&str, &Value> = HashMap::new();
    for container in list(spec, containers) {
        by_name.entry(text(container, "/name")).or_insert(container);
    }
    // How many containers of each name are not terminated.
    let mut alive: HashMap<&str, usize> = HashMap::new();
    for status in now.items().filter(|status| !status.get("state").get("terminated").is_set()) {
        *alive.entry(status.str("name")).or_default() += 1;
    }
    for ended in before.items() {
        let state = ended.get("state");
        let end = state.get("terminated");
        let container = by_name.get(ended.str("name")).copied();
        if !end.is_set() || may_restart(spec, containers, container, int(end.value, "/exitCode")) {
            continue;
        }
        for _ in 0..alive.get(ended.str("name")).copied().unwrap_or_default() {
            if errors.is_full() {
                return;
            }
            errors.forbidden(&state, "may not be transitioned to non-terminated state");
        }
    }
}

/// Where the pod does not restart everything, a container's own policy and its rules for exit codes may. Ephemeral ones never do.
fn may_restart(spec: &Value, containers: &str, container: Option<&Value>, code: i64) -> bool {
    if containers == "/ephemeralContainers" {
        return false;
    }
    let container = container.unwrap_or(&Value::Null);
    let by_rule = list(container, "/restartPolicyRules").iter().any(|rule| {
        let listed = list(rule, "/exitCodes/values").iter().any(|value| value.as_i64() == Some(code));
        text(rule, "/action") == "Restart" && listed == (text(rule, "/exitCodes/operator") == "In")
    });
    let (of_pod, own) = (text(spec, "/restartPolicy"), text(container, "/restartPolicy"));
    let on_failure = (if own.is_empty() { of_pod } else { own }) == "OnFailure";
    by_rule || [of_pod, own].contains(&"Always") || (on_failure && code != 0)
}

/// The user that a container runs as: numeric ids, which Windows does not have.
fn users(statuses: &Field, os: &str, errors: &mut Errors) {
    for status in statuses.items() {
        let user = status.get("user");
        // Upstream's path leaves out `user`.
        let linux = Field::new(&status.child("linux"), user.raw("linux"));
        if os == "windows" && linux.is_set() {
            errors.forbidden(&linux, "cannot be set for a windows pod");
        } else if matches!(os, "" | "linux") {
            check(&linux, &[("uid gid supplementalGroups[]", USER_ID)], errors);
        }
    }
}

fn claim_statuses(statuses: &Field, claims: &Value, errors: &mut Errors) {
    let claims: HashSet<&str> = list(claims, "").iter().map(|claim| text(claim, "/name")).collect();
    let mut taken = HashSet::new();
    for status in statuses.items() {
        let name = status.get("name");
        if !claims.contains(name.text()) {
            errors.wrong(&name, "must match the name of an entry in `spec.resourceClaims`");
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
    for first in addresses.items().take(1).filter(|first| first.str("ip") != single) {
        errors.wrong(&first.get("ip"), "must be equal to `hostIP`");
    }
    for address in addresses.items() {
        errors.all_invalid(&address, address.str("ip"), names::ip(address.str("ip")));
    }
    if addresses.items().len() > 1 {
        repeats(addresses, "HostIP", errors);
        one_of_each_family(addresses, "HostIP", errors);
    }
}

fn one_of_each_family(all: &Field, shown_as: &str, errors: &mut Errors) {
    let parsed: Vec<_> = all.items().map(|address| addresses::ip(address.str("ip"))).collect();
    if let Some(wrong) = parsed.iter().position(Option::is_none) {
        let text = text(&all.value[wrong], "/ip");
        let body =
            format!("Internal error: failed to check for dual stack with error:invalid IP[{wrong}]: {text}");
        errors.other(all, Fault::Internal, body);
    }
    let families: HashSet<bool> = parsed.iter().flatten().map(|ip| ip.is_ipv4()).collect();
    if families.len() < 2 || parsed.len() > 2 || parsed.contains(&None) {
        let shown = internal::show_list(shown_as, all.value);
        errors.invalid(all, shown, "may specify no more than one IP for each IP family");
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
    fn a_container_may_have_its_own_word_on_starting_again() {
        let refused =
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"];
        let rule = |operator: &str| json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]});
        let cases = [
            (json!({}), 42, false),
            (json!({"restartPolicy": "Always"}), 0, true),
            (json!({"restartPolicy": "OnFailure"}), 0, false),
            (json!({"restartPolicy": "OnFailure"}), 1, true),
            (rule("In"), 42, true),
            (rule("In"), 41, false),
            (rule("NotIn"), 42, false),
            (rule("NotIn"), 41, true),
        ];
        for (mut own, code, right) in cases {
            own["name"] = "c".into();
            let pod = |status: Value| json!({"spec": {"restartPolicy": "Never", "containers": [own]}, "status": status});
            let mut errors = Errors::new();
            let (old, new) = (pod(container("terminated", code)), pod(container("running", 0)));
            validate_pod_status_update(&new, &old, &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, if right { &[][..] } else { &refused[..] }, "case: {own} {code}");
        }
    }

    #[test]
    fn who_a_container_runs_as_is_a_matter_of_the_system() {
        let status = json!({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0}}}]});
        for (os, expected) in [
            (
                "linux",
                "status.containerStatuses[0].linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ),
            ("windows", "status.containerStatuses[0].linux: Forbidden: cannot be set for a windows pod"),
        ] {
            let pod = json!({"spec": {"os": {"name": os}}, "status": status});
            let mut errors = Errors::new();
            validate_pod_status_update(&pod, &json!({"spec": {}}), &mut errors);
            assert_eq!(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
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
