//! The variables by which a container finds Services, as Docker links once named them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// The variables of all Services that a pod of `namespace` sees: those of its own namespace where `links` asks for them,
/// and always the API server's.
pub fn variables<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut seen: BTreeMap<String, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.clone().unwrap_or_default();
        let of = service.metadata.namespace.as_deref().unwrap_or_default();
        let api_server = of == "default" && name == "kubernetes";
        let own = links && of == namespace;
        // A Service of the pod's namespace hides the API server's of the same name.
        if own || (api_server && !seen.contains_key(&name)) {
            seen.insert(name, service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in seen {
        one(&name, service, &mut variables);
    }
    variables
}

fn one(name: &str, service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (false, Some(first)) = (ip.is_empty() || ip == "None", ports.first()) else { return };
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let name = upper(name);
    variables.insert(format!("{name}_SERVICE_HOST"), ip.into());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (i, port) in ports.iter().enumerate() {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.insert(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if i == 0 {
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), ip.into());
        variables.insert(prefix, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ip: &str, ports: serde_json::Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": ip, "ports": ports}}),
        )
        .unwrap()
    }

    #[test]
    fn services_become_variables() {
        let services = [
            service(
                "default",
                "kubernetes",
                "10.96.0.1",
                json!([{"name": "https", "port": 443, "protocol": "TCP"}]),
            ),
            service(
                "ns",
                "my-svc",
                "10.96.0.9",
                json!([{"port": 80}, {"name": "m-x", "port": 53, "protocol": "UDP"}]),
            ),
            service("ns", "headless", "None", json!([{"port": 80}])),
            service("other", "far", "10.96.0.7", json!([{"port": 80}])),
        ];
        let all = variables(&services, "ns", true);
        let expected = [
            ("MY_SVC_SERVICE_HOST", "10.96.0.9"),
            ("MY_SVC_SERVICE_PORT", "80"),
            ("MY_SVC_SERVICE_PORT_M_X", "53"),
            ("MY_SVC_PORT", "tcp://10.96.0.9:80"),
            ("MY_SVC_PORT_80_TCP", "tcp://10.96.0.9:80"),
            ("MY_SVC_PORT_80_TCP_PROTO", "tcp"),
            ("MY_SVC_PORT_80_TCP_PORT", "80"),
            ("MY_SVC_PORT_80_TCP_ADDR", "10.96.0.9"),
            ("MY_SVC_PORT_53_UDP", "udp://10.96.0.9:53"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ];
        for (name, value) in expected {
            assert_eq!(all.get(name).map(String::as_str), Some(value), "variable: {name}");
        }
        assert!(!all.keys().any(|name| name.starts_with("HEADLESS") || name.starts_with("FAR")));
        let none = variables(&services, "ns", false);
        assert!(none.keys().all(|name| name.starts_with("KUBERNETES_")) && none.len() == 8, "{none:?}");
    }
}
