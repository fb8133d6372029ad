//! What a pod asks for in all.

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{Role, containers};

/// What a pod asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a core.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
}

/// What a node has for the requests of its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub all: Requests,
    /// What the other pods ask for.
    pub others: Requests,
}

/// What the containers of a pod ask for together: those that run at once are added, an init container runs alone but for
/// the sidecars.
pub fn requests(spec: &PodSpec) -> Requests {
    let of = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let read = |name: &str| requests?.get(name)?.0.parse::<Quantity>().ok();
        Requests {
            cpu_milli: read("cpu").map_or(0, |amount| amount.milli_value()),
            memory: read("memory").map_or(0, |amount| amount.value()),
        }
    };
    let plus = |a: Requests, b: Requests| Requests {
        cpu_milli: a.cpu_milli.saturating_add(b.cpu_milli),
        memory: a.memory.saturating_add(b.memory),
    };
    let (mut together, mut peak) = (Requests::default(), Requests::default());
    for (container, role) in containers(spec) {
        match role {
            Role::Init => {
                let alone = plus(together, of(container));
                peak.cpu_milli = peak.cpu_milli.max(alone.cpu_milli);
                peak.memory = peak.memory.max(alone.memory);
            }
            _ => together = plus(together, of(container)),
        }
    }
    Requests { cpu_milli: together.cpu_milli.max(peak.cpu_milli), memory: together.memory.max(peak.memory) }
}
