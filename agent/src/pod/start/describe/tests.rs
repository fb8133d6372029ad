//! What the engine is asked for: the JSON bodies that are made of pods, field by field.

use serde_json::{Value, json};

use super::*;
use crate::runtime::docker::create_body;
use crate::runtime::{Mount, MountSource, Propagation};

/// A pod of one container with these fields, as the API server would hand it on.
fn pod(of_pod: &Value, of_container: &Value) -> Pod {
    let mut container = json!({"name": "c", "image": "i"});
    let mut spec = json!({});
    merge(&mut container, of_container);
    merge(&mut spec, of_pod);
    spec["containers"] = json!([container]);
    let status = json!({"qosClass": "Burstable"});
    let meta = json!({"name": "x", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// The body for the pod's container.
fn body(pod: &Pod) -> Value {
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let wanted = security::seccomp_profile(pod, container).and_then(|wanted| wanted.localhost_profile);
    let inputs = Inputs {
        pod,
        container,
        variables: &variables,
        image_user: "",
        sandbox: "SANDBOX",
        target: None,
        node_memory: 4 << 30,
        seccomp_profile: wanted.filter(|path| path == "known.json").map(|_| "{}"),
    };
    serde_json::to_value(create_body(&of_container(&inputs).unwrap(), true)).unwrap()
}

/// The whole body of a container without any options: nothing is set in it that was not asked for.
#[test]
fn a_plain_container() {
    let body = body(&pod(&json!({}), &json!({})));
    // The engine's client keeps some lists in maps without an order.
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(body) });
}

#[test]
fn each_field_of_a_container_is_asked_for() {
    let host = |key: &str| format!("/HostConfig/{key}");
    let secured = |field: Value| json!({ "securityContext": field });
    let limited = |field: Value| json!({ "resources": field });
    let cases: Vec<(Value, String, Value)> = vec![
        (json!({"command": ["a", "$(A)$(B)"]}), "/Entrypoint".into(), json!(["a", "1$(B)"])),
        (json!({"args": ["$$(A)"]}), "/Cmd".into(), json!(["$(A)"])),
        (json!({"workingDir": "/w"}), "/WorkingDir".into(), json!("/w")),
        (json!({"stdin": true}), "/OpenStdin".into(), json!(true)),
        (json!({"stdin": true, "stdinOnce": true}), "/StdinOnce".into(), json!(true)),
        (json!({"tty": true}), "/Tty".into(), json!(true)),
        (limited(json!({"limits": {"memory": "64Mi"}})), host("Memory"), json!(64 << 20)),
        (limited(json!({"limits": {"memory": "64Mi"}})), host("MemorySwap"), json!(64 << 20)),
        (limited(json!({"limits": {"cpu": "250m"}})), host("CpuQuota"), json!(25_000)),
        (limited(json!({"limits": {"cpu": "1m"}})), host("CpuQuota"), json!(1_000)),
        (limited(json!({"requests": {"cpu": "2"}})), host("CpuShares"), json!(2048)),
        (limited(json!({"requests": {"memory": "1Gi"}})), host("OomScoreAdj"), json!(750)),
        (secured(json!({"runAsUser": 7})), "/User".into(), json!("7")),
        (secured(json!({"runAsUser": 7, "runAsGroup": 8})), "/User".into(), json!("7:8")),
        (secured(json!({"privileged": true})), host("Privileged"), json!(true)),
        (
            secured(json!({"capabilities": {"add": ["CAP_NET_ADMIN", "SYS_TIME"]}})),
            host("CapAdd"),
            json!(["NET_ADMIN", "SYS_TIME"]),
        ),
        (secured(json!({"capabilities": {"drop": ["ALL"]}})), host("CapDrop"), json!(["ALL"])),
        (secured(json!({"readOnlyRootFilesystem": true})), host("ReadonlyRootfs"), json!(true)),
        (
            secured(json!({"allowPrivilegeEscalation": false})),
            host("SecurityOpt"),
            json!(["no-new-privileges:true", "seccomp=unconfined"]),
        ),
        (secured(json!({"seccompProfile": {"type": "RuntimeDefault"}})), host("SecurityOpt"), json!([])),
        (
            secured(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "known.json"}})),
            host("SecurityOpt"),
            json!(["seccomp={}"]),
        ),
        // One that cannot be read must not widen what the container may do.
        (
            secured(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "no.json"}})),
            host("SecurityOpt"),
            json!([]),
        ),
        (secured(json!({"procMount": "Unmasked"})), host("MaskedPaths"), json!([])),
    ];
    for (field, at, expected) in cases {
        let got = body(&pod(&json!({}), &field)).pointer(&at).cloned();
        assert_eq!(got, Some(expected), "{at} of a container with {field}");
    }
}

#[test]
fn each_field_of_a_pod_is_asked_for() {
    let host = |key: &str| format!("/HostConfig/{key}");
    let secured = |field: Value| json!({ "securityContext": field });
    let cases: Vec<(Value, String, Value)> = vec![
        (json!({}), host("NetworkMode"), json!("container:SANDBOX")),
        (json!({}), host("IpcMode"), json!("container:SANDBOX")),
        (json!({}), host("PidMode"), json!("")),
        (json!({"hostIPC": true}), host("IpcMode"), json!("host")),
        (json!({"hostPID": true}), host("PidMode"), json!("host")),
        (json!({"shareProcessNamespace": true}), host("PidMode"), json!("container:SANDBOX")),
        (secured(json!({"runAsUser": 5, "runAsGroup": 6})), "/User".into(), json!("5:6")),
        (secured(json!({"supplementalGroups": [4], "fsGroup": 9})), host("GroupAdd"), json!(["4", "9"])),
        (secured(json!({"seccompProfile": {"type": "RuntimeDefault"}})), host("SecurityOpt"), json!([])),
    ];
    for (field, at, expected) in cases {
        let got = body(&pod(&field, &json!({}))).pointer(&at).cloned();
        assert_eq!(got, Some(expected), "{at} of a pod with {field}");
    }
}

#[test]
fn a_sandbox_holds_what_its_pod_shares() {
    let body = |of_pod: Value, of_container: Value| {
        let pod = pod(&of_pod, &of_container);
        let ports = host_ports(pod.spec.as_ref().unwrap());
        let network =
            NetworkMode::Bridge { network: "n".into(), address: Ipv4Addr::new(10, 88, 0, 2), ports };
        let spec = ContainerSpec { network, hostname: "x".into(), ..of_sandbox(&pod) };
        serde_json::to_value(create_body(&spec, true)).unwrap()
    };
    let port =
        json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "UDP"}]});
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]}});
    let cases = [
        (json!({}), json!({}), "/Hostname", json!("x")),
        (
            json!({}),
            json!({}),
            "/NetworkingConfig/EndpointsConfig/n/IPAMConfig/IPv4Address",
            json!("10.88.0.2"),
        ),
        (json!({}), json!({}), "/HostConfig/NetworkMode", json!("n")),
        (json!({}), json!({}), "/HostConfig/IpcMode", json!("shareable")),
        (json!({}), port.clone(), "/ExposedPorts", json!({"80/udp": {}})),
        (
            json!({}),
            port,
            "/HostConfig/PortBindings/80~1udp",
            json!([{"HostIp": "127.0.0.1", "HostPort": "8080"}]),
        ),
        (sysctl, json!({}), "/HostConfig/Sysctls", json!({"net.ipv4.tcp_syncookies": "0"})),
        (json!({"hostIPC": true}), json!({}), "/HostConfig/IpcMode", json!("host")),
        (json!({"hostPID": true}), json!({}), "/HostConfig/PidMode", json!("host")),
    ];
    for (of_pod, of_container, at, expected) in cases {
        let got = body(of_pod.clone(), of_container.clone()).pointer(at).cloned();
        assert_eq!(got, Some(expected), "{at} of the sandbox of {of_pod}, {of_container}");
    }
}

#[test]
fn each_kind_of_mount_is_asked_for() {
    let mount = |source: MountSource, read_only, propagation| {
        let mounts = vec![Mount { source, target: "/t".into(), read_only, propagation }];
        let body = create_body(&ContainerSpec { mounts, ..ContainerSpec::default() }, true);
        serde_json::to_value(body).unwrap()["HostConfig"]["Mounts"][0].clone()
    };
    let path = || MountSource::Path("/p".into());
    let bind = |read_only: bool, propagation: &str| {
        json!({"Type": "bind", "Source": "/p", "Target": "/t", "ReadOnly": read_only,
            "BindOptions": {"Propagation": propagation}})
    };
    assert_eq!(mount(path(), true, Propagation::Private), bind(true, "rprivate"));
    assert_eq!(mount(path(), false, Propagation::HostToContainer), bind(false, "rslave"));
    assert_eq!(mount(path(), false, Propagation::Bidirectional), bind(false, "rshared"));
    let volume = "v".to_owned();
    let memory = MountSource::Memory { volume, labels: BTreeMap::new(), size: 1, mode: 0o1777, group: 0 };
    let volume = json!({"Type": "volume", "Source": "v", "Target": "/t", "ReadOnly": false,
        "VolumeOptions": {"NoCopy": true}});
    assert_eq!(mount(memory, false, Propagation::Private), volume);
}
