//! Probes by a command inside the container: exit code 0 is success.

use std::time::Duration;

use super::outcome::Outcome;
use crate::runtime::{Error, Runtime};

/// How much output is kept: upstream's limit.
const OUTPUT: usize = 10 * 1024;

/// Runs the command. One that takes longer than it may is killed.
pub async fn probe(runtime: &dyn Runtime, id: &str, command: &[String], timeout: Duration) -> Outcome {
    let done = match runtime.exec(id, command, OUTPUT, timeout).await {
        Ok(done) => done,
        Err(Error::TimedOut(timeout)) => {
            let line = command.join(" ");
            return Outcome::Failure(format!(
                "command timed out: {line:?} timed out after {}s",
                timeout.as_secs()
            ));
        }
        Err(error) => return Outcome::Unknown(format!("rpc error: code = Unknown desc = {error}")),
    };
    let output = String::from_utf8_lossy(&done.output).into_owned();
    match done.code {
        0 => Outcome::Success,
        // The engine says that the command never ran.
        126 | 127 if output.starts_with("OCI runtime exec failed") => {
            Outcome::Unknown(format!("rpc error: code = Unknown desc = {}", output.trim_end()))
        }
        _ => Outcome::Failure(output),
    }
}
