use super::*;
use crate::quantity::QuantityError;

const POD: &str = "io.k8s.api.core.v1.Pod";

fn target(name: &'static str) -> Target<'static> {
    let kind = name.rsplit('.').next().unwrap();
    let group = if name.contains(".apps.") { "apps" } else { "" };
    Target { group, version: "v1", kind, schema: Schema::of(name).unwrap() }
}

fn read(name: &'static str, text: &str, validation: FieldValidation) -> Result<Decoded, Status> {
    decode(&target(name), Format::Json, text.as_bytes(), validation)
}

#[test]
fn wrong_types_are_told_in_gos_words() {
    let cases = [
        (
            r#"{"spec":{"hostNetwork":"yes"}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            r#"{"spec":{"containers":[{"livenessProbe":{"tcpSocket":{"port":true}}}]}}"#,
            "json: cannot unmarshal bool into Go struct field TCPSocketAction.spec.containers.livenessProbe.ProbeHandler.tcpSocket.port of type int32",
        ),
        (
            r#"{"spec":{"volumes":[{"emptyDir":""}]}}"#,
            "json: cannot unmarshal string into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource",
        ),
        (
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"volumes":["v"]}}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.volumes of type v1.Volume",
        ),
        (
            r#"{"spec":{"containers":[{"resources":{"limits":["cpu"]}}]}}"#,
            "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            r#"{"status":{"phase":1}}"#,
            "json: cannot unmarshal number into Go struct field PodStatus.status.phase of type v1.PodPhase",
        ),
        (
            r#"{"metadata":"x"}"#,
            "json: cannot unmarshal string into Go struct field Pod.metadata of type v1.ObjectMeta",
        ),
        (
            r#"{"spec":{"containers":[{"ports":[{"containerPort":80.0}]}]}}"#,
            "json: cannot unmarshal number 80.0 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        // The first wrong type is told, but a malformed scalar that reads itself ends the reading.
        (
            r#"{"metadata":{"labels":{"a":1}},"spec":{"hostNetwork":1}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (r#"{"spec":{"hostNetwork":1,"overhead":{"cpu":"1MB"}}}"#, &QuantityError::Malformed.to_string()),
    ];
    for (text, expected) in cases {
        let status = read(POD, text, FieldValidation::Warn).unwrap_err();
        assert_eq!(
            status.message,
            format!("Pod in version \"v1\" cannot be handled as a Pod: {expected}"),
            "case: {text}"
        );
    }
    let secret = read("io.k8s.api.core.v1.Secret", r#"{"data":{"a":5}}"#, FieldValidation::Warn).unwrap_err();
    assert!(
        secret.message.ends_with("cannot unmarshal number into Go struct field Secret.data of type []uint8"),
        "{secret}"
    );
}

#[test]
fn bodies_that_are_no_objects_of_the_kind() {
    let cases = [
        (
            "",
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            "5",
            r#"the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (35)"#,
        ),
        (
            r#"{"apiVersion": "a/b/c", "kind": "Pod"}"#,
            r#"the object provided is unrecognized (must be of type Pod): unexpected GroupVersion string: a/b/c ({"apiVersion": "a/b/c", "kind" ...)"#,
        ),
        (
            r#"{"apiVersion": "v1", "kind": 5}"#,
            r#"the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"apiVersion": "v1", "kind": 5 ...)"#,
        ),
        (
            r#"{"kind":"pod"}"#,
            r#"pod in version "v1" cannot be handled as a Pod: no kind "pod" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
        ),
        (
            r#"{"kind":"Pod","apiVersion":"v9"}"#,
            r#"Pod in version "v9" cannot be handled as a Pod: no kind "Pod" is registered for version "v9" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
        ),
        (
            r#"{"kind":"Secret"}"#,
            r#"Secret in version "v1" cannot be handled as a Pod: converting (v1.Secret) to (core.Pod): unknown conversion"#,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read(POD, text, FieldValidation::Warn).unwrap_err().message, expected, "case: {text}");
    }
    let old = read(
        "io.k8s.api.apps.v1.Deployment",
        r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#,
        FieldValidation::Warn,
    );
    assert_eq!(
        old.unwrap_err().message,
        "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"
    );
}

#[test]
fn unknown_and_repeated_fields() {
    let text = r#"{"bb":4,"spec":{"containers":[{"zz":1,"aa":2,"name":"x","name":"y"}],"mm":3,"mm":4}}"#;
    let decoded = read(POD, text, FieldValidation::Warn).unwrap();
    let expected = [
        r#"unknown field "bb""#,
        r#"unknown field "spec.containers[0].zz""#,
        r#"unknown field "spec.containers[0].aa""#,
        r#"duplicate field "spec.containers[0].name""#,
        r#"unknown field "spec.mm""#,
    ];
    assert_eq!(decoded.warnings, expected);
    assert_eq!(decoded.value["spec"]["containers"][0]["name"], "y");
    assert!(decoded.value.get("bb").is_none());
    let strict = read(POD, r#"{"a":1,"b":2}"#, FieldValidation::Strict).unwrap_err();
    assert!(strict.message.ends_with(r#"strict decoding error: unknown field "a", unknown field "b""#));
    assert!(read(POD, text, FieldValidation::Ignore).unwrap().warnings.is_empty());
}

#[test]
fn objects_come_out_as_go_prints_them() {
    let text = r#"{"status":{},"spec":{"hostNetwork":false,"automountServiceAccountToken":false,"nodeSelector":{},
        "containers":[{"image":"i","name":"c","args":[],"resources":{"limits":{"memory":"1024Mi","cpu":"0.5"}}}]},
        "metadata":{"name":"x","labels":{"b":"2","a":null},"creationTimestamp":null}}"#;
    let decoded = read(POD, text, FieldValidation::Strict).unwrap();
    let expected = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","labels":{"a":"","b":"2"}},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}],"automountServiceAccountToken":false},"status":{}}"#;
    assert_eq!(decoded.value.to_string(), expected);
    let empty = read(POD, "null", FieldValidation::Strict).unwrap();
    assert_eq!(
        empty.value.to_string(),
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{},"spec":{"containers":null},"status":{}}"#
    );
}

#[test]
fn yaml_keeps_its_own_words_for_repeated_keys() {
    let text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: b\n  a: c\nodd: 1\n";
    let target = target("io.k8s.api.core.v1.ConfigMap");
    let decoded = decode(&target, Format::Yaml, text, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, ["line 7: key \"a\" already set in map", "unknown field \"odd\""]);
    let strict = decode(&target, Format::Yaml, text, FieldValidation::Strict).unwrap_err();
    let expected = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 7: key \"a\" already set in map, unknown field \"odd\"";
    assert_eq!(strict.message, expected);
}

mod laws {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Values that a client may get wrong anywhere: fields of pods, other fields, every JSON type.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop_oneof![
                Just("1Gi"),
                Just("80"),
                Just("a"),
                Just(""),
                Just("2020-01-01T00:00:00Z"),
                Just("YQ==")
            ]
            .prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("metadata"),
            Just("spec"),
            Just("status"),
            Just("name"),
            Just("labels"),
            Just("containers"),
            Just("resources"),
            Just("limits"),
            Just("ports"),
            Just("containerPort"),
            Just("env"),
            Just("volumes"),
            Just("managedFields"),
            Just("data"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("x"),
        ];
        leaf.prop_recursive(6, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|entries| entries
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        })
    }

    proptest! {
        /// What was decoded once is decoded again to the same, and nothing that comes from outside panics.
        #[test]
        fn decoding_is_idempotent(value in anything()) {
            let text = value.to_string();
            if let Ok(once) = read(POD, &text, FieldValidation::Warn) {
                let again = read(POD, &once.value.to_string(), FieldValidation::Strict).unwrap();
                prop_assert_eq!(again.value.to_string(), once.value.to_string());
            }
        }

        /// No patch of any form makes a reader panic, and what comes out of one is an object that is read again to the same.
        #[test]
        fn no_patch_panics(value in anything(), change in anything(), operations in operations()) {
            let target = target(POD);
            let current = read(POD, &value.to_string(), FieldValidation::Ignore)
                .or_else(|_| read(POD, "{}", FieldValidation::Ignore)).unwrap().value;
            let mut config = change.clone();
            if let Some(config) = config.as_object_mut() {
                config.insert("apiVersion".into(), "v1".into());
                config.insert("kind".into(), "Pod".into());
            }
            let mut outcomes = Vec::new();
            for (kind, body) in [
                (crate::patch::Kind::Json, &operations),
                (crate::patch::Kind::Merge, &change),
                (crate::patch::Kind::Strategic, &change),
            ] {
                let body = body.to_string();
                outcomes.push(crate::patch::patch(kind, &target, &current, body.as_bytes(), FieldValidation::Warn));
            }
            let writer = crate::apply::Writer { manager: "m", subresource: "", now: "2026-01-01T00:00:00Z", ignored: &[] };
            let body = config.to_string();
            outcomes.push(crate::apply::apply(&target, &writer, true, Some(&current), body.as_bytes(), FieldValidation::Warn));
            for outcome in outcomes {
                match outcome {
                    Err(status) => prop_assert!(status.code >= 400, "{status}"),
                    Ok(decoded) => {
                        prop_assert_eq!(&decoded.value["kind"], "Pod");
                        let text = decoded.value.to_string();
                        let again = read(POD, &text, FieldValidation::Strict).unwrap();
                        prop_assert_eq!(again.value.to_string(), text);
                    }
                }
            }
            let tracked = crate::apply::track_update(&target, &writer, Some(&current), current.clone());
            prop_assert!(tracked.is_object());
        }
    }

    /// Operations of JSON patches, most of them on places that may be there.
    fn operations() -> impl Strategy<Value = Value> {
        let op = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "odd"]);
        let step = prop::sample::select(vec![
            "metadata",
            "spec",
            "status",
            "name",
            "labels",
            "containers",
            "0",
            "1",
            "-",
            "-1",
            "00",
            "env",
            "x",
            "",
            "~1~0",
        ]);
        let path = prop::collection::vec(step, 0..5)
            .prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect::<String>());
        let operation = (op, path.clone(), path, anything()).prop_map(
            |(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}),
        );
        prop::collection::vec(operation, 0..6).prop_map(Value::from)
    }

    /// The property above would hold of patches that are all refused: these are what it must meet.
    #[test]
    fn some_patches_of_each_form_go_through() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let target = target(POD);
        let current = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "labels": {"x": "1"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": {}});
        let mut done = [0; 4];
        for _ in 0..500 {
            let change = anything().new_tree(&mut runner).unwrap().current();
            let operations = operations().new_tree(&mut runner).unwrap().current();
            for (at, kind, body) in [
                (0, crate::patch::Kind::Json, &operations),
                (1, crate::patch::Kind::Merge, &change),
                (2, crate::patch::Kind::Strategic, &change),
            ] {
                let body = body.to_string();
                let changed =
                    crate::patch::patch(kind, &target, &current, body.as_bytes(), FieldValidation::Warn);
                done[at] += usize::from(changed.is_ok_and(|changed| changed.value != current));
            }
            let mut config = change;
            let Some(fields) = config.as_object_mut() else { continue };
            fields.insert("apiVersion".into(), "v1".into());
            fields.insert("kind".into(), "Pod".into());
            let writer = crate::apply::Writer {
                manager: "m",
                subresource: "",
                now: "2026-01-01T00:00:00Z",
                ignored: &[],
            };
            let body = config.to_string();
            let applied = crate::apply::apply(
                &target,
                &writer,
                true,
                Some(&current),
                body.as_bytes(),
                FieldValidation::Warn,
            );
            done[3] += usize::from(applied.is_ok());
        }
        assert!(done.iter().all(|done| *done >= 5), "{done:?}");
    }
}
