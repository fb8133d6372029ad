//! The three purposes of probes, and which probe of a container serves each.

use k8s_openapi::api::core::v1::{Container, Probe};

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
