//! Ports of the machine that a pod takes for itself: the scheduler and the node must count them alike.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Every address of the machine.
const ANY: &str = "0.0.0.0";

/// A port of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `0.0.0.0` for all addresses.
    pub address: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether two pods cannot have both.
    pub fn clashes(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == ANY || other.address == ANY)
    }
}

/// The ports that a pod takes while it serves. Those of init containers, which have ended by then, do not count.
///
/// Source: `GetHostPorts` in `pkg/scheduler/util/utils.go`.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let serving = sidecars.chain(&spec.containers);
    let ports = serving.flat_map(|container| container.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        Some(HostPort {
            address: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| ANY.into()),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: port.host_port.filter(|port| *port > 0)?,
        })
    });
    taken.collect()
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_had_once_on_each_address() {
        let taken = |address: &str, protocol: &str, port: i32| {
            let port =
                json!({"containerPort": 80, "hostPort": port, "hostIP": address, "protocol": protocol});
            let spec = json!({"containers": [{"name": "c", "ports": [port]}]});
            host_ports(&serde_json::from_value(spec).unwrap())
        };
        let mine = taken("", "TCP", 8080);
        let cases = [
            (taken("", "TCP", 8080), true),
            (taken("127.0.0.1", "TCP", 8080), true),
            (taken("", "UDP", 8080), false),
            (taken("", "TCP", 8081), false),
        ];
        for (other, expected) in cases {
            assert_eq!(mine[0].clashes(&other[0]), expected, "{other:?}");
            assert_eq!(other[0].clashes(&mine[0]), expected, "{other:?}, the other way round");
        }
        assert!(!taken("127.0.0.1", "TCP", 1)[0].clashes(&taken("127.0.0.2", "TCP", 1)[0]));
        assert!(taken("", "TCP", 0).is_empty());
    }
}
