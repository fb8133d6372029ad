//! Whether a port accepts connections.

use std::time::Duration;

use super::dial::{connect, dial_error};
use super::outcome::Outcome;

/// Connects, and hangs up.
pub async fn probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    match connect(host, port, timeout).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(dial_error(host, port, &error)),
    }
}
