//! postStart and preStop.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::context::Context;
use crate::probe::{Outcome, http};

/// How much of a hook's output is kept for its error.
const OUTPUT: usize = 10 * 1024;
/// How long a command of a hook may take: practically without limit, as upstream. It ends earlier with the grace period of its
/// pod, or with its container.
const COMMAND: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a request of a hook may take.
const REQUEST: Duration = Duration::from_secs(30);

/// Runs a hook to its end; or says why it failed.
pub async fn run(
    ctx: &Context,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    address: Ipv4Addr,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let done =
            ctx.runtime().exec(id, &command, OUTPUT, COMMAND).await.map_err(|error| error.to_string())?;
        return match done.code {
            0 => Ok(()),
            code => Err(format!("command exited with {code}: {}", String::from_utf8_lossy(&done.output))),
        };
    }
    if let Some(get) = &hook.http_get {
        let target = http::Target::of(get, container, address)?;
        return match http::probe(&target, REQUEST).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(why) | Outcome::Unknown(why) => Err(why),
        };
    }
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    Ok(())
}
