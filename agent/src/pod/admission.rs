//! Which pods a node refuses, though they are bound to it: decided once, when it first takes them. Pure.
//!
//! Source: `pkg/kubelet/lifecycle/predicate.go` and `AdmissionCheck` in `pkg/scheduler/eventhandlers.go`, whose order and texts
//! these are. A kubelet also refuses what does not tolerate a NoExecute taint; here the controller that evicts by taints deletes
//! such pods.

use std::collections::BTreeMap;

use coracle_api::podspec::host_ports::host_ports;
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::pod_requests::Offer;
use crate::spec::node_selector;
use crate::spec::requests::{insufficient, requests};

/// The kernel settings that reach no further than their pod.
///
/// Source: `SafeSysctlAllowlist` in `pkg/kubelet/sysctl/safe_sysctls.go`.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Upstream's word.
    pub reason: &'static str,
    /// Upstream's text.
    pub message: String,
}

impl Refusal {
    fn new(reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into() }
    }
}

/// A node, as a pod that is new to it finds it.
pub struct NodeFacts<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its labels; `None` where they are not known, so that nothing is refused for them.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// What it has.
    pub offer: &'a Offer,
}

/// Whether a pod is new to its node: the status that the node reports first gives it a start time.
pub fn is_new(pod: &Pod) -> bool {
    let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    !started && pod.metadata.deletion_timestamp.is_none()
}

/// Why a node refuses a pod, if it does.
pub fn refusal(pod: &Pod, facts: &NodeFacts<'_>) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    let all = [by_sysctl, by_system];
    all.iter()
        .find_map(|check| check(pod, spec))
        .or_else(|| by_room(spec, facts.offer))
        .or_else(|| by_node(spec, facts))
}

const OS: &str = "kubernetes.io/os";

/// What is meant for another operating system.
fn by_system(pod: &Pod, spec: &PodSpec) -> Option<Refusal> {
    if pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS)).is_some_and(|os| os != "linux") {
        let message = format!("Failed to admit pod as the `{OS}` label doesn't match node label");
        return Some(Refusal::new("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    let os = spec.os.as_ref().filter(|os| os.name != "linux");
    os.map(|_| Refusal::new("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"))
}

/// What does not fit beside the pods that are here.
fn by_room(spec: &PodSpec, offer: &Offer) -> Option<Refusal> {
    let (requested, all, used) = (requests(spec), offer.room.all, offer.room.others);
    let resources = [
        ("OutOfpods", "pods", 1, offer.pods, offer.most_pods),
        ("OutOfcpu", "cpu", requested.cpu_milli, used.cpu_milli, all.cpu_milli),
        ("OutOfmemory", "memory", requested.memory, used.memory, all.memory),
        ("OutOfephemeral-storage", "ephemeral-storage", requested.storage, used.storage, all.storage),
    ];
    let short = |(_, _, requested, used, all): &&(_, _, i64, i64, i64)| {
        *requested > 0 && *requested > all.saturating_sub(*used)
    };
    let (reason, name, requested, used, all) = *resources.iter().find(short)?;
    Some(Refusal::new(reason, insufficient(name, requested, used, all)))
}

/// What the node is not meant for, or has given to another.
fn by_node(spec: &PodSpec, facts: &NodeFacts<'_>) -> Option<Refusal> {
    let failed = |name, why: &str| Some(Refusal::new(name, format!("Predicate {name} failed: {why}")));
    if facts.labels.is_some_and(|labels| !node_selector::suits(spec, facts.node, labels)) {
        return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    let taken = |port| facts.offer.ports.iter().any(|other| other.clashes(port));
    if host_ports(spec).iter().any(taken) {
        return failed("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    None
}

/// Kernel settings that reach further than the pod.
fn by_sysctl(_: &Pod, spec: &PodSpec) -> Option<Refusal> {
    let context = spec.security_context.as_ref()?;
    let name = |name: &str| name.replace('/', ".");
    for sysctl in context.sysctls.iter().flatten().map(|sysctl| name(&sysctl.name)) {
        let forbidden =
            |why: &str| Some(Refusal::new("SysctlForbidden", format!("forbidden sysctl: {sysctl:?} {why}")));
        if !SAFE.contains(&sysctl.as_str()) {
            return forbidden("not allowlisted");
        }
        if sysctl.starts_with("net.") && spec.host_network == Some(true) {
            return forbidden("not allowed with host net enabled");
        }
        if sysctl.starts_with("kernel.shm") && spec.host_ipc == Some(true) {
            return forbidden("not allowed with host ipc enabled");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::requests::{Requests, Room};
    use serde_json::{Value, json};

    #[test]
    fn settings_of_the_machine_are_refused() {
        let pod = |sysctl: &str, of_host: &str| -> Pod {
            let sysctls = json!([{"name": sysctl, "value": "1"}]);
            let mut spec = json!({"containers": [], "securityContext": {"sysctls": sysctls}});
            if !of_host.is_empty() {
                spec[of_host] = json!(true);
            }
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let cases = [
            ("net.ipv4.tcp_syncookies", "", None),
            ("net/ipv4/tcp_syncookies", "", None),
            ("net.ipv4.tcp_syncookies", "hostIPC", None),
            ("kernel.shm_rmid_forced", "", None),
            ("kernel.shm_rmid_forced", "hostNetwork", None),
            ("kernel.msgmax", "", Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")),
            (
                "net.ipv4.tcp_syncookies",
                "hostNetwork",
                Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
            ),
            (
                "kernel.shm_rmid_forced",
                "hostIPC",
                Some("forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
            ),
        ];
        for (sysctl, of_host, expected) in cases {
            let got = refused(&pod(sysctl, of_host), &Offer { most_pods: 1, ..Offer::default() });
            assert_eq!(got.as_deref(), expected, "{sysctl}, of the host: {of_host:?}");
        }
    }

    fn refused(pod: &Pod, offer: &Offer) -> Option<String> {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let facts = NodeFacts { node: "node-1", labels: Some(&labels), offer };
        refusal(pod, &facts).map(|refusal| refusal.message)
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let pod = |requests: Value, more: Value| -> Pod {
            let port = json!({"containerPort": 80, "hostPort": 8080});
            let mut spec =
                json!({"containers": [{"name": "c", "resources": {"requests": requests}, "ports": [port]}]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(json!({ "spec": spec })).unwrap()
        };
        let all = Requests { cpu_milli: 2000, memory: 1 << 30, storage: 1 << 30 };
        let others = Requests { cpu_milli: 1500, memory: 1 << 29, storage: 0 };
        let offer = Offer { room: Room { all, others }, most_pods: 10, pods: 3, ports: Vec::new() };
        let full = Offer { pods: 10, ..offer.clone() };
        let ports = host_ports(pod(json!({}), json!({})).spec.as_ref().unwrap());
        let taken = Offer { ports, ..offer.clone() };
        let short = |what: &str| Some(format!("Node didn't have enough resource: {what}"));
        let none = || json!({});
        let elsewhere = json!({"nodeSelector": {"zone": "b"}});
        let cases = [
            ("it fits", pod(json!({"cpu": "500m", "memory": "512Mi"}), none()), &offer, None),
            (
                "cpu",
                pod(json!({"cpu": "2"}), none()),
                &offer,
                short("cpu, requested: 2000, used: 1500, capacity: 2000"),
            ),
            (
                "memory",
                pod(json!({"memory": "513Mi"}), none()),
                &offer,
                short("memory, requested: 537919488, used: 536870912, capacity: 1073741824"),
            ),
            (
                "disk",
                pod(json!({"ephemeral-storage": "2Gi"}), none()),
                &offer,
                short("ephemeral-storage, requested: 2147483648, used: 0, capacity: 1073741824"),
            ),
            (
                "the number of pods, first of all",
                pod(json!({"cpu": "2"}), elsewhere.clone()),
                &full,
                short("pods, requested: 1, used: 10, capacity: 10"),
            ),
            (
                "another zone",
                pod(none(), elsewhere),
                &taken,
                Some(
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
                ),
            ),
            (
                "a port",
                pod(none(), none()),
                &taken,
                Some(
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                        .into(),
                ),
            ),
            (
                "another system",
                pod(none(), json!({"os": {"name": "windows"}})),
                &offer,
                Some("Failed to admit pod as the OS field doesn't match node OS".into()),
            ),
        ];
        for (case, pod, offer, expected) in cases {
            assert_eq!(refused(&pod, offer), expected, "case: {case}");
        }
        for (os, expected) in [
            ("linux", None),
            ("windows", Some("Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")),
        ] {
            let mut labelled = pod(none(), none());
            labelled.metadata.labels = Some(BTreeMap::from([("kubernetes.io/os".to_owned(), os.to_owned())]));
            assert_eq!(refused(&labelled, &offer).as_deref(), expected, "label: {os}");
        }
        let mut over = offer.clone();
        over.room.others.cpu_milli = 3000;
        assert_eq!(
            refused(&pod(none(), none()), &over),
            None,
            "who asks for nothing fits where there is too much already"
        );
    }

    #[test]
    fn only_new_pods_are_refused() {
        let pod = |status: Value, deleted: Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"deletionTimestamp": deleted}, "status": status}))
                .unwrap()
        };
        let time = || json!("2026-01-01T00:00:00Z");
        assert!(is_new(&pod(json!({"phase": "Pending"}), json!(null))));
        assert!(
            !is_new(&pod(json!({"phase": "Pending", "startTime": time()}), json!(null))),
            "it was taken before"
        );
        assert!(!is_new(&pod(json!({"phase": "Pending"}), time())), "it goes");
    }
}
