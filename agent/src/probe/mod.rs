//! Probes: asking a container whether it has come up, can serve, still lives.

mod command;
mod counter;
mod dial;
mod grpc;
pub mod http;
mod outcome;
mod purpose;
mod request_uri;
pub mod task;
mod tcp;
mod tls;

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};

use crate::runtime::Runtime;
use dial::port;
pub use outcome::Outcome;
pub use purpose::Purpose;

/// Asks once.
pub async fn ask(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    probe: &Probe,
    address: Ipv4Addr,
) -> Outcome {
    let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    match runtime.answers_probes(id) {
        Some(true) => return Outcome::Success,
        Some(false) => return Outcome::Failure("the simulated container says that it is not well".into()),
        None => {}
    }
    if let Some(exec) = &probe.exec {
        return command::probe(runtime, id, exec.command.as_deref().unwrap_or_default(), timeout).await;
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
