//! Whether a port accepts connections.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Outcome, dial_error};

/// Connects, and hangs up.
pub async fn probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    match connect(host, port, timeout).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(dial_error(host, port, &error)),
    }
}

/// Connects.
pub async fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect((host, port))).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
