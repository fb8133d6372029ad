//! How a service shows in `kubectl get services`.

use std::borrow::Cow::Borrowed;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read::{int, list, text};
use crate::table::Cell::{Computed, Text, TextOrNone};
use crate::table::cells::{self, or, or_none};
use crate::table::{Column, Table};

pub(super) static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Type", "How it is reached.", Text("/spec/type")),
        Column::text("Cluster-IP", "Its address inside the cluster.", TextOrNone("/spec/clusterIPs/0")),
        Column::text(
            "External-IP",
            "Its addresses outside the cluster.",
            Computed(|service, _| external(service)),
        ),
        Column::text(
            "Port(s)",
            "Its ports, with the nodes' after the colon.",
            Computed(|service, _| or_none(&ports(service))),
        ),
        Column::age(),
        Column::text(
            "Selector",
            "Which pods it leads to.",
            Computed(|service, _| cells::labels(service, "/spec/selector")),
        )
        .wide(),
    ]),
    ..Table::PLAIN
};

fn external(service: &Value) -> Value {
    let own = list(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or_none(&own.join(",")),
        "ExternalName" => text(service, "/spec/externalName").into(),
        "LoadBalancer" => {
            let address = |point| {
                Some(text(point, "/ip")).filter(|ip| !ip.is_empty()).unwrap_or(text(point, "/hostname"))
            };
            let ingress = list(service, "/status/loadBalancer/ingress").iter().map(address);
            let given: BTreeSet<&str> = ingress.filter(|address| !address.is_empty()).collect();
            or(&given.into_iter().chain(own).collect::<Vec<_>>().join(","), "<pending>")
        }
        _ => "<unknown>".into(),
    }
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let (number, node, protocol) = (int(port, "/port"), int(port, "/nodePort"), text(port, "/protocol"));
        if node > 0 { format!("{number}:{node}/{protocol}") } else { format!("{number}/{protocol}") }
    };
    list(service, "/spec/ports").iter().map(port).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_outside() {
        let balancer = |ingress: Value, own: Value| json!({"spec": {"type": "LoadBalancer", "externalIPs": own}, "status": {"loadBalancer": {"ingress": ingress}}});
        let cases = [
            (json!({"spec": {"type": "ClusterIP"}}), "<none>"),
            (json!({"spec": {"type": "NodePort", "externalIPs": ["1.2.3.4", "1.2.3.5"]}}), "1.2.3.4,1.2.3.5"),
            (json!({"spec": {"type": "ExternalName", "externalName": "a.example"}}), "a.example"),
            (balancer(json!([]), json!([])), "<pending>"),
            (
                balancer(json!([{"hostname": "b"}, {"ip": "1.1.1.1"}]), json!(["2.2.2.2"])),
                "1.1.1.1,b,2.2.2.2",
            ),
            (json!({}), "<unknown>"),
        ];
        for (service, expected) in cases {
            assert_eq!(external(&service), expected, "case: {service}");
        }
    }
}
