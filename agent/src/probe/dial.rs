//! Connecting to a container: which port is meant, and why it cannot be reached.

use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// Connects.
pub async fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect((host, port))).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A port by number, or by its name in the container's list.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => {
            u16::try_from(*number).map_err(|_| format!("invalid port number: {number}"))
        }
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            // Upstream's last try: the name may be a number.
            let no_number = |_| format!("strconv.Atoi: parsing {name:?}: invalid syntax");
            let number =
                named.map_or_else(|| name.parse().map_err(no_number), |port| Ok(port.container_port))?;
            u16::try_from(number).map_err(|_| format!("invalid port number: {number}"))
        }
    }
}

/// Why a connection could not be made, in Go's words.
pub fn dial_error(host: &str, port: u16, error: &io::Error) -> String {
    use io::ErrorKind as K;
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

/// The error for a name that cannot be resolved, with the resolver that was asked.
fn unknown(host: &str) -> String {
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let server = resolver.lines().find_map(|line| line.strip_prefix("nameserver "));
    let server = server.map_or_else(String::new, |server| format!(" on {}:53", server.trim()));
    format!("lookup {host}{server}: no such host")
}
