//! Probes: asking a container whether it has come up, can serve, still lives.

mod command;
pub mod counter;
mod grpc;
pub mod http;
pub mod task;
mod tcp;
mod tls;

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::context::Context;

/// What one probe said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// All is well, but somebody should know this.
    Warning(String),
    /// It is not, because.
    Failure(String),
    /// The probe itself failed: nothing is known, nothing is counted.
    Unknown(String),
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Whether the container has come up; the others wait for it.
    Startup,
    /// Whether it can serve.
    Readiness,
    /// Whether it still lives; if not, it is restarted.
    Liveness,
}

impl Purpose {
    /// As texts begin: `Readiness`.
    pub fn title(self) -> &'static str {
        match self {
            Purpose::Startup => "Startup",
            Purpose::Readiness => "Readiness",
            Purpose::Liveness => "Liveness",
        }
    }

    /// The probe of this purpose, if a container has one.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Purpose::Startup => container.startup_probe.as_ref(),
            Purpose::Readiness => container.readiness_probe.as_ref(),
            Purpose::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// Asks once.
pub async fn ask(
    ctx: &Context,
    container: &Container,
    id: &str,
    probe: &Probe,
    address: Ipv4Addr,
) -> Outcome {
    let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    match ctx.runtime().answers_probes(id) {
        Some(true) => return Outcome::Success,
        Some(false) => return Outcome::Failure("the simulated container says that it is not well".into()),
        None => {}
    }
    if let Some(exec) = &probe.exec {
        return command::probe(ctx.runtime(), id, exec.command.as_deref().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        return match http::Target::of(get, container, address) {
            Ok(target) => http::probe(&target, timeout).await,
            Err(why) => Outcome::Unknown(why),
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string());
        return match port(&socket.port, container) {
            Ok(port) => tcp::probe(&host, port, timeout).await,
            Err(why) => Outcome::Unknown(why),
        };
    }
    if let Some(call) = &probe.grpc {
        let Ok(port) = u16::try_from(call.port) else {
            return Outcome::Unknown("the port is out of range".into());
        };
        return grpc::probe(address, port, call.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Unknown(format!("missing probe handler for {}", container.name))
}

/// A port by number, or by its name in the container's list.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => {
            u16::try_from(*number).map_err(|_| format!("invalid port number: {number}"))
        }
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            // The last try of upstream's: it may have been a number all along.
            let no_number = |_| format!("strconv.Atoi: parsing {name:?}: invalid syntax");
            let number =
                named.map_or_else(|| name.parse().map_err(no_number), |port| Ok(port.container_port))?;
            u16::try_from(number).map_err(|_| format!("invalid port number: {number}"))
        }
    }
}

/// Why a connection could not be made, in Go's words.
fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    let why = match error.kind() {
        K::ConnectionRefused => "connect: connection refused".to_owned(),
        K::HostUnreachable => "connect: no route to host".to_owned(),
        K::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        K::ConnectionReset => "connect: connection reset by peer".to_owned(),
        K::TimedOut => "i/o timeout".to_owned(),
        _ if error.to_string().starts_with("failed to lookup") => {
            return format!("dial tcp: {}", unknown(host));
        }
        _ => error.to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("dial tcp {host}:{port}: {why}")
}

/// That a name leads nowhere, with the resolver that said so.
fn unknown(host: &str) -> String {
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = resolver.lines().find_map(|line| line.strip_prefix("nameserver "));
    let server = server.map_or_else(String::new, |server| format!(" on {}:53", server.trim()));
    format!("lookup {host}{server}: no such host")
}
