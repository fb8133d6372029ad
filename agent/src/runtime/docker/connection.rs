//! The connection to a Docker engine.

use std::collections::HashMap;

use bollard::Docker;

use super::answer::error_of;
use super::{engine, observe};
use crate::labels::Owner;
use crate::runtime::{Enforced, Error};

/// A connection to a Docker engine.
#[derive(Clone)]
pub struct DockerRuntime {
    pub(super) docker: Docker,
    /// Whether the engine can protect a container from being killed first when the machine runs out of memory.
    pub(super) oom_protection: bool,
    /// Which limits its kernel enforces.
    pub(super) enforced: Enforced,
}

/// Connects to the engine that `DOCKER_HOST` names, or to the usual socket, in the newest version of its API that both
/// sides know (engines from 20.10).
///
/// # Errors
/// Written for people: [`Error::Unreachable`], and [`Error::Refused`] for an engine that cannot run pods.
pub async fn connect() -> Result<DockerRuntime, Error> {
    let unreachable = |error: bollard::errors::Error| {
        let hint = match error.to_string() {
            text if text.contains("ermission denied") => {
                "; you may not use it: sudo usermod -aG docker $USER, and log in again"
            }
            _ => "",
        };
        Error::Unreachable(format!("{error}{hint}"))
    };
    if let Some(why) = engine::refusal_of_host(&std::env::var("DOCKER_HOST").unwrap_or_default()) {
        return Err(Error::Refused(why));
    }
    let docker = Docker::connect_with_defaults().map_err(unreachable)?;
    let docker = docker.negotiate_version().await.map_err(unreachable)?;
    let info = docker.info().await.map_err(error_of)?;
    match engine::refusal(&info) {
        Some(why) => Err(Error::Refused(why)),
        None => Ok(DockerRuntime {
            docker,
            oom_protection: observe::may_protect_from_oom(),
            enforced: observe::enforced(&info),
        }),
    }
}

/// The filter of the engine's lists that lets through what belongs to an owner.
pub fn label_filter(owner: &Owner) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), owner.filters())])
}
