//! Each row: a change to a pod that is right, and what is then found wrong, in order.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{validate_pod, validate_pod_template};
use crate::field::{Errors, Path};
use crate::kinds::POD;
use crate::schema::Schema;

/// Puts `change` into `base`: maps are merged, everything else is replaced.
fn merge(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

fn container(change: Value) -> Value {
    let mut container = json!({"name": "c", "image": "a"});
    merge(&mut container, change);
    json!({"containers": [container]})
}

fn faults(spec: Value) -> Vec<String> {
    let mut pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    merge(&mut pod, json!({"spec": spec}));
    POD.fill_in(&mut pod);
    let mut errors = Errors::new();
    validate_pod(&pod, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

/// Compares whole texts, or their beginnings where a row ends in `…`.
fn check(rows: Vec<(Value, Vec<&str>)>) {
    for (spec, expected) in rows {
        let found = faults(spec.clone());
        let same = |found: &String, expected: &&str| match expected.strip_suffix('…') {
            Some(start) => found.starts_with(start),
            None => found == expected,
        };
        let agree = found.len() == expected.len() && found.iter().zip(&expected).all(|(f, e)| same(f, e));
        assert!(agree, "{spec}\nfound {found:#?}\nexpected {expected:#?}");
    }
}

#[test]
fn a_plain_pod_is_right() {
    check(vec![(json!({}), vec![])]);
}

#[test]
fn containers() {
    check(vec![
        (json!({"containers": []}), vec!["spec.containers: Required value"]),
        (
            json!({"containers": [{}]}),
            vec!["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            json!({"containers": [{"name": "c", "image": "a"}, {"name": "c", "image": " a"}]}),
            vec![
                "spec.containers[1].name: Duplicate value: \"c\"",
                "spec.containers[1].image: Invalid value: \" a\": must not have leading or trailing whitespace",
            ],
        ),
        (
            container(
                json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
            ),
            vec!["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]}),
            vec![
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            json!({"ephemeralContainers": [{"name": "c", "image": "a", "ports": [{"containerPort": 1}]}]}),
            vec![
                "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
                "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers: Forbidden: cannot be set on create",
            ],
        ),
        (
            container(json!({"resizePolicy": [{"resourceName": "gpu", "restartPolicy": ""}]})),
            vec![
                "spec.containers[0].resizePolicy: Unsupported value: \"gpu\": supported values: \"cpu\", \"memory\"",
                "spec.containers[0].resizePolicy: Required value",
            ],
        ),
    ]);
}

#[test]
fn environment() {
    let variable = |change: Value| container(json!({"env": [change]}));
    check(vec![
        (
            variable(
                json!({"name": "A=B", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}}),
            ),
            vec![
                "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting fieldPath: field label not supported: spec.foo",
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            variable(
                json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}),
            ),
            vec![
                "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            ],
        ),
        (
            container(json!({"envFrom": [{}]})),
            vec![
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
    ]);
}

#[test]
fn volumes_and_mounts() {
    let mount = |volume: Value, mount: Value| {
        let mut spec = container(json!({"volumeMounts": [mount]}));
        spec["volumes"] = json!([volume]);
        spec
    };
    check(vec![
        (mount(json!({"name": "v"}), json!({"name": "v", "mountPath": "/v"})), vec![]),
        (
            mount(json!({"name": "V"}), json!({"name": "V", "mountPath": "/v"})),
            vec![
                "spec.volumes[0].name: Invalid value: \"V\": a lowercase RFC 1123 label…",
                "spec.containers[0].volumeMounts[0].name: Not found: \"V\"",
            ],
        ),
        (
            mount(json!({"name": "v"}), json!({"name": "v", "mountPath": "/v", "subPath": "../a"})),
            vec!["spec.containers[0].volumeMounts.subPath: Invalid value: \"../a\": must not contain '..'"],
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": ""}, "downwardAPI": {}}]}),
            vec![
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[0].downwarAPI: Forbidden: may not specify more than 1 volume type",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "configMap": {"items": [{"path": "..a", "mode": 512}]}}]}),
            vec![
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.items[0].key: Required value",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
                "spec.volumes[0].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "a"}}}}]}),
            vec![
                "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            ],
        ),
    ]);
}

#[test]
fn resources() {
    let ask = |requests: Value, limits: Value| {
        container(json!({"resources": {"requests": requests, "limits": limits}}))
    };
    check(vec![
        (
            ask(json!({"cpu": "1001m"}), json!({"cpu": "1"})),
            vec![
                "spec.containers[0].resources.requests: Invalid value: \"1001m\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            ask(json!({"example.com/a": "1"}), json!({})),
            vec![
                "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
            ],
        ),
        (
            ask(json!({"foo": "1"}), json!({})),
            vec![
                "spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified",
                "spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource for containers",
            ],
        ),
        (
            ask(json!({}), json!({"hugepages-2Mi": "2Mi"})),
            vec!["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
        ),
    ]);
}

#[test]
fn probes_and_hooks() {
    check(vec![
        (
            container(
                json!({"livenessProbe": {"successThreshold": 2, "httpGet": {"port": "80"}, "exec": {}}}),
            ),
            vec![
                "spec.containers[0].livenessProbe.exec.command: Required value",
                "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            vec![
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        ),
    ]);
}

#[test]
fn scheduling() {
    check(vec![
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            vec![
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "k", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 0}]}),
            vec![
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ],
        ),
        (
            json!({"tolerations": [{"operator": "Foo", "tolerationSeconds": 1}]}),
            vec![
                "spec.tolerations[0].operator: Invalid value: \"Foo\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                "spec.tolerations[0].operator: Unsupported value: \"Foo\": supported values: \"Equal\", \"Exists\"",
            ],
        ),
        (
            json!({"schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"}),
            vec![
                "spec.schedulingGates[1]: Duplicate value: \"a\"",
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
    ]);
}

#[test]
fn security() {
    check(vec![
        (
            json!({"hostUsers": false, "hostPID": true}),
            vec!["spec.HostPID: Forbidden: when `hostUsers` is false"],
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "a"}}}),
            vec![
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"RuntimeDefault\",\"LocalhostProfile\":\"a\"}: can only be set when seccomp type is Localhost",
            ],
        ),
        (
            container(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            vec![
                "spec.containers[0].securityContext: Invalid value: {\"Capabilities\":null,\"Privileged\":true,…",
            ],
        ),
        (
            json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"runAsUser": 1}}),
            vec![
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ],
        ),
    ]);
}

#[test]
fn a_template_has_paths_of_its_own() {
    let mut template = json!({"metadata": {"labels": {"-a": "b"}}, "spec": {"restartPolicy": "Foo"}});
    crate::defaults::constants(&mut template, Schema::of("io.k8s.api.core.v1.PodTemplateSpec").unwrap());
    let (spec, mut errors) = (Path::root("spec"), Errors::new());
    validate_pod_template(&template, &spec.child("template"), &mut errors);
    let fields: Vec<&str> = errors.0.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        ["spec.template.labels", "spec.template.spec.containers", "spec.template.spec.restartPolicy"]
    );
}

/// Values of all shapes that decoding lets through for fields of any type.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9./:%-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let field = prop::sample::select(vec![
            "name",
            "image",
            "ports",
            "env",
            "valueFrom",
            "volumes",
            "projected",
            "sources",
            "resources",
            "limits",
            "requests",
            "cpu",
            "affinity",
            "nodeAffinity",
            "securityContext",
            "tolerations",
            "httpGet",
            "livenessProbe",
            "items",
            "path",
            "containers",
            "initContainers",
            "configMap",
            "volumeMounts",
            "windowsOptions",
            "os",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((field, inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_spec_makes_the_rules_panic(spec in anything()) {
        let mut pod = json!({"metadata": {"name": "x"}, "spec": spec});
        POD.fill_in(&mut pod);
        let once = pod.clone();
        POD.fill_in(&mut pod);
        prop_assert_eq!(&pod, &once, "defaulting is idempotent");
        let mut errors = Errors::new();
        validate_pod(&pod, &mut errors);
        (POD.strategy.validate_update)(&POD, &pod, &once, &mut errors);
        crate::podspec::pod_warnings(&pod, None);
    }
}

#[test]
fn sources_of_volumes_by_other_systems() {
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        merge(&mut volume, source);
        json!({"volumes": [volume]})
    };
    let iscsi = |iqn: &str| volume(json!({"iscsi": {"targetPortal": "a:1", "iqn": iqn, "lun": 0}}));
    let quobyte = |registry: &str| volume(json!({"quobyte": {"registry": registry, "volume": "v"}}));
    check(vec![
        (iscsi("iqn.2001-04.com.example:a"), vec![]),
        (iscsi("eui.0123456789abcdef"), vec![]),
        (
            iscsi("disk"),
            vec![
                "spec.volumes[0].iscsi.iqn: Invalid value: \"disk\": must be valid format starting with iqn, eui, or naa",
            ],
        ),
        (
            iscsi("iqn.2001-4.com:a"),
            vec!["spec.volumes[0].iscsi.iqn: Invalid value: \"iqn.2001-4.com:a\": must be valid format"],
        ),
        (quobyte("a:1,b:2"), vec![]),
        (
            quobyte("a"),
            vec!["spec.volumes[0].quobyte.registry: Invalid value: \"a\": must be a host:port pair…"],
        ),
        (volume(json!({"csi": {"driver": ""}})), vec!["spec.volumes[0].csi.driver: Required value"]),
        (
            json!({"overhead": {"cpu": "1", "memory": "-1"}}),
            vec!["spec.overhead.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
    ]);
}
