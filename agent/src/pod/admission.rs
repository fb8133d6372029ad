//! Which pods a node refuses, though they are bound to it. Pure.

use k8s_openapi::api::core::v1::Pod;

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

/// Why a pod is refused: reason and message, as upstream's.
pub fn refusal(pod: &Pod) -> Option<(&'static str, String)> {
    let spec = pod.spec.as_ref()?;
    let context = spec.security_context.as_ref()?;
    let name = |name: &str| name.replace('/', ".");
    for sysctl in context.sysctls.iter().flatten().map(|sysctl| name(&sysctl.name)) {
        let forbidden = |why: &str| Some(("SysctlForbidden", format!("forbidden sysctl: {sysctl:?} {why}")));
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
    use serde_json::json;

    #[test]
    fn settings_of_the_machine_are_refused() {
        let pod = |sysctl: &str, host_network: bool| -> Pod {
            let sysctls = json!([{"name": sysctl, "value": "1"}]);
            let spec = json!({"containers": [], "hostNetwork": host_network, "securityContext": {"sysctls": sysctls}});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let cases = [
            ("net.ipv4.tcp_syncookies", false, None),
            ("net/ipv4/tcp_syncookies", false, None),
            ("kernel.msgmax", false, Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")),
            (
                "net.ipv4.tcp_syncookies",
                true,
                Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
            ),
        ];
        for (sysctl, host_network, expected) in cases {
            let got = refusal(&pod(sysctl, host_network)).map(|(_, why)| why);
            assert_eq!(got.as_deref(), expected, "{sysctl}, host network: {host_network}");
        }
    }
}
