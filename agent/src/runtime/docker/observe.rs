//! The engine's answers, read into our own types.

use std::collections::BTreeMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EventMessage, HostConfig, SystemInfo,
};
use jiff::Timestamp;

use crate::labels;
use crate::runtime::{Container, ContainerEvent, Enforced, EventKind, Info, Limits, State};

/// The capability that is needed to protect a process from being killed first when memory runs out: `CAP_SYS_RESOURCE`.
const SYS_RESOURCE: u64 = 1 << 24;

/// Whether processes of this machine can have that capability at all: inside another container often none can, and the
/// engine could then start nothing that asks for it.
pub fn may_protect_from_oom() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_none_or(|bits| bits & SYS_RESOURCE != 0)
}

/// A time as the engine writes it. Its zero time (`0001-01-01T00:00:00Z`) means "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

/// An event about one of our containers.
pub fn event(event: EventMessage) -> Option<ContainerEvent> {
    let actor = event.actor?;
    let mut attributes = actor.attributes?;
    let nanos = event.time_nano.map(i128::from);
    let at = nanos.and_then(|nanos| Timestamp::from_nanosecond(nanos).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let code = attributes.get("exitCode").and_then(|text| text.parse().ok());
    let kind = match event.action.as_deref()? {
        // SIGKILL does not begin a restart: `docker restart` sends the stop signal first.
        "kill" if attributes.get("signal").is_some_and(|signal| signal == "9") => return None,
        "kill" => EventKind::Signalled,
        "die" => EventKind::Ended { code: code.unwrap_or(137), at },
        "destroy" => EventKind::Removed,
        _ => EventKind::Started,
    };
    Some(ContainerEvent { id: actor.id?, uid: attributes.remove(labels::UID)?, kind })
}

/// Stands in every container that an agent has made, where the engine keeps what a client says of its own `--cidfile`, and
/// does nothing with it. See [`is_marked`].
pub const MARK: &str = "coracle.dev";

/// Whether an agent has made a container. Its labels alone are no proof: an image made of a container (`docker commit`)
/// hands them on to whatever is run of it. What stands in the host's part of a request no image can hand on.
pub fn is_marked(host: &HostConfig) -> bool {
    host.container_id_file.as_deref() == Some(MARK)
}

/// Whether a container is being removed by force: it has ended, and its exit code is that of the removal.
pub fn is_going(found: &ContainerInspectResponse) -> bool {
    let state = found.state.as_ref();
    state.is_some_and(|state| {
        state.running != Some(true) && state.status == Some(ContainerStateStatusEnum::REMOVING)
    })
}

/// What the engine's unit of `--cpus` makes of a thousandth of a core.
pub const NANOS_IN_MILLI: i64 = 1_000_000;

/// Whether a container's processor time is limited by what `--cpus` sets, not by a quota: by that alone it can be changed.
pub fn is_in_nanos(host: &HostConfig) -> bool {
    host.nano_cpus.is_some_and(|nanos| nanos > 0)
}

/// A container as the engine shows it.
pub fn container(found: ContainerInspectResponse) -> Container {
    let created = time(found.created.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH);
    let config = found.config.unwrap_or_default();
    let host = found.host_config.unwrap_or_default();
    let labels = config.labels.filter(|_| is_marked(&host));
    let labels: BTreeMap<String, String> = labels.unwrap_or_default().into_iter().collect();
    let state = found.state.unwrap_or_default();
    let started = time(state.started_at.as_deref());
    let error = state.error.clone().unwrap_or_default();
    let running = state.running == Some(true);
    let read = if running {
        State::Running { started: started.unwrap_or(created) }
    } else if state.status == Some(ContainerStateStatusEnum::CREATED) && error.is_empty() {
        State::Created
    } else if started.is_none() || state.status == Some(ContainerStateStatusEnum::CREATED) {
        // It was started and never ran: the engine leaves such a container as created, with the reason.
        let finished = time(state.finished_at.as_deref()).unwrap_or(created);
        State::Exited { code: 128, oom: false, started: None, finished, error }
    } else {
        State::Exited {
            code: state.exit_code.unwrap_or(0),
            oom: state.oom_killed == Some(true),
            started,
            finished: time(state.finished_at.as_deref()).unwrap_or(created),
            error,
        }
    };
    let positive = |number: Option<i64>| number.unwrap_or(0).max(0);
    let quota = positive(host.cpu_quota) * 1000 / host.cpu_period.filter(|p| *p > 0).unwrap_or(100_000);
    let limits = Limits {
        cpu_shares: positive(host.cpu_shares),
        // `docker update --cpus` sets the one, and a quota cannot be set any more then.
        cpu_milli: if is_in_nanos(&host) { positive(host.nano_cpus) / NANOS_IN_MILLI } else { quota },
        memory: positive(host.memory),
        oom_score_adj: 0,
    };
    // What was asked for names the network.
    let mode = host.network_mode.unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let address = networks.get(&mode).and_then(|endpoint| endpoint.ip_address.as_ref()?.parse().ok());
    let signal = config.stop_signal.filter(|signal| !signal.is_empty());
    Container {
        id: found.id.unwrap_or_default(),
        labels,
        image_id: found.image.unwrap_or_default(),
        created,
        state: read,
        limits,
        stop_signal: signal.unwrap_or_else(|| "SIGTERM".into()),
        pid: if running { state.pid.unwrap_or(0) } else { 0 },
        address: address.filter(|_| running),
    }
}

/// Which limits the engine's kernel enforces.
pub fn enforced(info: &SystemInfo) -> Enforced {
    Enforced {
        cpu_shares: info.cpu_shares != Some(false),
        cpu: info.cpu_cfs_quota != Some(false) && info.cpu_cfs_period != Some(false),
        memory: info.memory_limit != Some(false),
    }
}

/// The engine and its machine.
pub fn info(info: SystemInfo) -> Info {
    let architecture = match info.architecture.as_deref() {
        Some("x86_64") => "amd64",
        Some("aarch64") => "arm64",
        Some(other) => other,
        None => "unknown",
    };
    // Engines elsewhere are refused: the machine is this one.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Info {
        version: format!("docker://{}", info.server_version.unwrap_or_default()),
        kernel: info.kernel_version.unwrap_or_default(),
        os_image: info.operating_system.unwrap_or_default(),
        operating_system: info.os_type.unwrap_or_else(|| "linux".into()),
        architecture: architecture.into(),
        machine_id: read("/etc/machine-id"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        memory: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
    }
}
