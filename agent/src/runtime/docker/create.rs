//! The engine's request for a container that is to be made.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig, NetworkingConfig, PortBinding, VolumeCreateRequest,
};

use super::answer::error_of;
use super::observe::{MARK, NANOS_IN_MILLI};
use crate::runtime::{
    ContainerSpec, Error, Limits, Mount, MountSource, NetworkMode, Propagation, Seccomp, Share,
};

/// The length of the scheduling period in which a quota of processor time is counted, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The smallest quota that the kernel accepts.
const CPU_QUOTA_MIN: i64 = 1_000;

/// Makes the volumes that a container will mount. One that is there already is kept.
pub async fn volumes(docker: &Docker, spec: &ContainerSpec) -> Result<(), Error> {
    for mount in &spec.mounts {
        let MountSource::Memory { volume, labels, size, mode, group } = &mount.source else { continue };
        let mut options = format!("mode={mode:o},gid={group}");
        if *size > 0 {
            options.push_str(&format!(",size={size}"));
        }
        let driver_opts = [("type", "tmpfs"), ("device", "tmpfs"), ("o", options.as_str())];
        let request = VolumeCreateRequest {
            name: Some(volume.clone()),
            labels: Some(labels.clone().into_iter().collect()),
            driver_opts: Some(driver_opts.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            ..Default::default()
        };
        docker.create_volume(request).await.map_err(error_of)?;
    }
    Ok(())
}

/// The body of the request that makes a container. `oom_protection`: see [`super::connection::DockerRuntime`].
pub fn body(spec: &ContainerSpec, oom_protection: bool) -> ContainerCreateBody {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        entrypoint: some(&spec.entrypoint),
        cmd: some(&spec.args),
        env: Some(spec.env.clone()),
        working_dir: text(&spec.working_dir),
        user: text(&spec.user),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        tty: Some(spec.tty),
        host_config: Some(host(spec, oom_protection)),
        // What an image asks of the engine's own health checks is not run: pods have probes.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
        ..Default::default()
    };
    if let NetworkMode::Bridge { network, address, ports } = &spec.network {
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let endpoints = HashMap::from([(network.clone(), endpoint)]);
        body.networking_config = Some(NetworkingConfig { endpoints_config: Some(endpoints) });
        body.hostname = text(&spec.hostname);
        body.exposed_ports =
            some(&ports.iter().map(|p| format!("{}/{}", p.container, p.protocol)).collect::<Vec<_>>());
    }
    body
}

/// The body of the request that changes what a container may use. What is not limited is left as it is: a resize adds
/// limits and never takes one away, and the engine has no value for "none". `in_nanos`: see [`super::observe::is_in_nanos`].
pub fn update(limits: &Limits, in_nanos: bool) -> ContainerUpdateBody {
    let quota = quota(limits.cpu_milli).filter(|_| !in_nanos);
    ContainerUpdateBody {
        nano_cpus: positive(limits.cpu_milli.saturating_mul(NANOS_IN_MILLI)).filter(|_| in_nanos),
        cpu_shares: positive(limits.cpu_shares),
        cpu_period: quota.map(|_| CPU_PERIOD),
        cpu_quota: quota,
        memory: positive(limits.memory),
        // The same figure for memory and swap together: no swap beyond the limit.
        memory_swap: positive(limits.memory),
        ..Default::default()
    }
}

fn positive(number: i64) -> Option<i64> {
    (number > 0).then_some(number)
}

/// How much processor time a container gets in a period; `None`: as much as there is.
fn quota(cpu_milli: i64) -> Option<i64> {
    (cpu_milli > 0).then(|| (cpu_milli * CPU_PERIOD / 1000).max(CPU_QUOTA_MIN))
}

fn host(spec: &ContainerSpec, oom_protection: bool) -> HostConfig {
    let limits = &spec.limits;
    let quota = quota(limits.cpu_milli);
    let security = &spec.security;
    let mut host = HostConfig {
        cpu_shares: positive(limits.cpu_shares),
        cpu_period: quota.map(|_| CPU_PERIOD),
        cpu_quota: quota,
        memory: positive(limits.memory),
        // The same figure for memory and swap together: no swap beyond the limit.
        memory_swap: positive(limits.memory),
        oom_score_adj: Some(if oom_protection { limits.oom_score_adj } else { limits.oom_score_adj.max(0) }),
        mounts: Some(spec.mounts.iter().map(|one| mount(one, &spec.labels)).collect()),
        ipc_mode: Some(share(&spec.ipc, "private", "shareable")),
        pid_mode: Some(share(&spec.pid, "", "")),
        privileged: Some(security.privileged),
        cap_add: Some(security.cap_add.clone()),
        cap_drop: Some(security.cap_drop.clone()),
        readonly_rootfs: Some(security.read_only_root),
        security_opt: Some(security_options(spec)),
        group_add: Some(spec.groups.iter().map(i64::to_string).collect()),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        log_config: Some(log_config()),
        container_id_file: Some(MARK.into()),
        auto_remove: spec.removed_at_end.then_some(true),
        ..Default::default()
    };
    if security.unmasked_proc {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    match &spec.network {
        NetworkMode::None => host.network_mode = Some("none".into()),
        NetworkMode::Host => host.network_mode = Some("host".into()),
        NetworkMode::Container(id) => host.network_mode = Some(format!("container:{id}")),
        NetworkMode::Bridge { network, ports, .. } => {
            host.network_mode = Some(network.clone());
            let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
            for port in ports {
                let binding = PortBinding {
                    host_ip: (!port.address.is_empty()).then(|| port.address.clone()),
                    host_port: Some(port.host.to_string()),
                };
                let key = format!("{}/{}", port.container, port.protocol);
                bindings.entry(key).or_default().get_or_insert_default().push(binding);
            }
            host.port_bindings = (!bindings.is_empty()).then_some(bindings);
        }
    }
    host
}

fn share(share: &Share, own: &str, shareable: &str) -> String {
    match share {
        Share::Own => own.into(),
        Share::Shareable => shareable.into(),
        Share::Host => "host".into(),
        Share::Container(id) => format!("container:{id}"),
    }
}

fn security_options(spec: &ContainerSpec) -> Vec<String> {
    let mut options = Vec::new();
    if spec.security.no_new_privileges {
        options.push("no-new-privileges:true".into());
    }
    match &spec.security.seccomp {
        Seccomp::Unconfined => options.push("seccomp=unconfined".into()),
        Seccomp::RuntimeDefault => {}
        Seccomp::Profile(json) => options.push(format!("seccomp={json}")),
    }
    options
}

/// Logs in files that the engine can read back, at the kubelet's sizes.
fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "10m"), ("max-file", "5")];
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(config.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
    }
}

/// A mount of a container with these labels.
fn mount(mount: &Mount, labels: &BTreeMap<String, String>) -> EngineMount {
    let mut made = EngineMount {
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Default::default()
    };
    match &mount.source {
        MountSource::Path(path) => bind(&mut made, path, mount.propagation),
        // A second name of the file, which nobody else can give to another.
        MountSource::Held(held) if !held.is_folder() => bind(&mut made, held.link(), mount.propagation),
        MountSource::Held(held) => {
            let options = [("type", "none"), ("o", "bind"), ("device", &held.link().to_string_lossy())];
            let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
            made.typ = Some(MountType::VOLUME);
            // Without a name of its own the volume goes with its container.
            made.volume_options = Some(MountVolumeOptions {
                no_copy: Some(true),
                labels: Some(labels.clone().into_iter().collect()),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: Some("local".into()),
                    options: Some(HashMap::from(options)),
                }),
                ..Default::default()
            });
        }
        MountSource::Memory { volume, .. } => {
            made.typ = Some(MountType::VOLUME);
            made.source = Some(volume.clone());
            // What the image holds at the mount's place is hidden, not copied into the volume.
            made.volume_options = Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() });
        }
    }
    made
}

fn bind(mount: &mut EngineMount, path: &Path, propagation: Propagation) {
    mount.typ = Some(MountType::BIND);
    mount.source = Some(path.to_string_lossy().into_owned());
    let propagation = match propagation {
        Propagation::Private => MountBindOptionsPropagationEnum::RPRIVATE,
        Propagation::HostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
        Propagation::Bidirectional => MountBindOptionsPropagationEnum::RSHARED,
    };
    mount.bind_options = Some(MountBindOptions { propagation: Some(propagation), ..Default::default() });
}
