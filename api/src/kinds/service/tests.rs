//! Each row: what a right service is changed to, and what is then found wrong, in order. Texts that end in `…` are beginnings.

use serde_json::{Value, json};

use super::SERVICE;
use crate::field::Errors;

fn service(spec: Value, annotations: Value) -> Value {
    let mut service = json!({
        "metadata": {"name": "s", "namespace": "n", "resourceVersion": "1", "annotations": annotations},
        "spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack"},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        service["spec"][field] = value.clone();
    }
    SERVICE.fill_in(&mut service);
    service
}

fn agree(found: &Errors, expected: &[&str], case: &Value) {
    let found: Vec<String> = found.0.iter().map(ToString::to_string).collect();
    let same = |(found, expected): (&String, &&str)| match expected.strip_suffix('…') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    };
    let right = found.len() == expected.len() && found.iter().zip(expected).all(same);
    assert!(right, "{case}\nfound {found:#?}\nexpected {expected:#?}");
}

#[test]
fn what_a_service_may_say() {
    let balanced = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let (hints, mode) = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode");
    let cases: Vec<(Value, Value, Vec<&str>)> = vec![
        (json!({}), json!({}), vec![]),
        (json!({"ports": []}), json!({}), vec!["spec.ports: Required value"]),
        (
            json!({}),
            json!({hints: "Auto", mode: "Disabled"}),
            vec![
                "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Disabled\": must match…",
            ],
        ),
        (json!({}), json!({hints: "Auto", mode: "Auto"}), vec![]),
        (
            json!({}),
            json!({balanced: "10.0.0.0/8"}),
            vec![
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used…",
            ],
        ),
        (
            json!({"type": "LoadBalancer"}),
            json!({balanced: "10.0.0.0/8, ten"}),
            vec![
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"ten\": must be a valid CIDR…",
            ],
        ),
        (json!({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 "]}), json!({}), vec![]),
        (
            json!({"ports": [{"port": 80}, {"port": 80}]}),
            json!({}),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[1].name: Required value",
                "spec.ports[1]: Duplicate value: …",
            ],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30_001}]}),
            json!({}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            json!({"clusterIPs": ["10.0.0.8"]}),
            json!({}),
            vec!["spec.clusterIPs: Invalid value: [\"10.0.0.8\"]: first value must match `clusterIP`"],
        ),
        (
            json!({"externalIPs": ["127.0.0.1", "0.0.0.0"]}),
            json!({}),
            vec![
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range…",
                "spec.externalIPs[1]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
            ],
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
            json!({}),
            vec![
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0…",
            ],
        ),
        (
            json!({"loadBalancerClass": "a/b"}),
            json!({}),
            vec!["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
    ];
    for (spec, annotations, expected) in cases {
        let service = service(spec, annotations);
        agree(&SERVICE.validate(&service), &expected, &service);
    }
}

#[test]
fn what_of_a_service_may_change() {
    let local = |port: i64| json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port});
    let class = |class: &str| json!({"type": "LoadBalancer", "loadBalancerClass": class});
    let kept = "spec.clusterIPs[0]: Invalid value: [\"10.0.0.8\"]: may not change once set";
    let cases: Vec<(Value, Value, Vec<&str>)> = vec![
        (json!({}), json!({"selector": {"a": "b"}}), vec![]),
        (json!({}), json!({"clusterIP": "10.0.0.8", "clusterIPs": ["10.0.0.8"]}), vec![kept]),
        (local(30_001), local(30_001), vec![]),
        (local(30_001), local(30_002), vec!["spec.healthCheckNodePort: Forbidden: field is immutable"]),
        (
            class("a/b"),
            class("a/c"),
            vec!["spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"],
        ),
        (class("a/b"), json!({"type": "ClusterIP"}), vec![]),
    ];
    for (old, new, expected) in cases {
        let (old, new) = (service(old, json!({})), service(new, json!({})));
        let found = SERVICE.validate_change(SERVICE.strategy.validate_update, &new, &old);
        agree(&found, &expected, &new["spec"]);
    }
}

#[test]
fn what_is_accepted_and_hardly_meant() {
    let cases: Vec<(Value, Value, Vec<&str>)> = vec![
        (json!({}), json!({}), vec![]),
        (
            json!({}),
            json!({"service.kubernetes.io/topology-aware-hints": "Auto"}),
            vec![
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
            ],
        ),
        (
            json!({"externalIPs": ["1.2.3.4"]}),
            json!({}),
            vec!["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
        ),
        (
            json!({"clusterIP": "None", "clusterIPs": ["None"], "externalIPs": ["1.2.3.4"]}),
            json!({}),
            vec!["spec.externalIPs is ignored for headless services"],
        ),
        (
            json!({"type": "ExternalName", "externalName": "a.b", "externalIPs": ["1.2.3.4"]}),
            json!({}),
            vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
        ),
    ];
    for (spec, annotations, expected) in cases {
        let service = service(spec, annotations);
        assert_eq!((SERVICE.strategy.warnings)(&SERVICE, &service, None), expected, "case: {service}");
    }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let cases = [
        (
            json!({"ports": [{"port": 80}]}),
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None", "type": "ClusterIP",
                "internalTrafficPolicy": "Cluster"}),
        ),
        (
            json!({"type": "ExternalName", "externalName": "a.example"}),
            json!({"type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None"}),
        ),
        (
            json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": ""}]}),
            json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "ports": [{"port": 1, "targetPort": 1, "protocol": "TCP"}],
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}}, "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
        ),
    ];
    for (spec, expected) in cases {
        let mut service = json!({"spec": spec});
        SERVICE.fill_in(&mut service);
        assert_eq!(service["spec"], expected);
        SERVICE.fill_in(&mut service);
        assert_eq!(service["spec"], expected, "filling in twice changes nothing");
    }
}
