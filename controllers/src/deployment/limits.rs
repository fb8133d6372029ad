//! How many pods more or fewer than its replicas a Deployment may have while it changes version.

use k8s_openapi::api::apps::v1::{Deployment, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::workload::{Round, whole};

/// How a Deployment replaces its pods, in whole pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The pods asked for.
    pub replicas: i32,
    /// How many more there may be.
    pub surge: i32,
    /// How many fewer may be available.
    pub unavailable: i32,
    /// Whether old and new pods may run side by side.
    pub rolling: bool,
}

impl Limits {
    /// The limits of a Deployment. Percentages of surge round up, those of unavailability down; if both come to zero,
    /// one pod may be unavailable: otherwise the rollout could never proceed.
    pub fn of(deployment: &Deployment) -> Limits {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate");
        if !rolling {
            return Limits { replicas, surge: 0, unavailable: 0, rolling };
        }
        let default = RollingUpdateDeployment::default();
        let update = strategy.and_then(|strategy| strategy.rolling_update.as_ref()).unwrap_or(&default);
        let quarter = IntOrString::String("25%".into());
        let surge = whole(update.max_surge.as_ref().unwrap_or(&quarter), replicas, Round::Up).max(0);
        let unavailable =
            whole(update.max_unavailable.as_ref().unwrap_or(&quarter), replicas, Round::Down).max(0);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Limits { replicas, surge, unavailable: unavailable.min(replicas), rolling }
    }

    /// The most pods at any time.
    pub fn most(self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// The fewest pods that must be available at any time.
    pub fn least_available(self) -> i32 {
        self.replicas - self.unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::deployment;

    #[test]
    fn percentages_round_towards_safety_and_never_to_a_standstill() {
        let cases = [
            ("25%", "25%", 4, (1, 1)),
            ("25%", "25%", 10, (3, 2)),
            ("10%", "10%", 3, (1, 0)),
            ("30%", "30%", 4, (2, 1)),
            ("0%", "0%", 4, (0, 1)),
            ("1", "0", 3, (1, 0)),
            ("0", "5", 3, (0, 3)),
            ("50%", "0%", 4, (2, 0)),
            ("25%", "25%", 0, (0, 0)),
        ];
        for (surge, unavailable, replicas, expected) in cases {
            let limits = Limits::of(&deployment("x").replicas(replicas).rolling(surge, unavailable).build());
            assert_eq!(
                (limits.surge, limits.unavailable),
                expected,
                "case: {surge} {unavailable} of {replicas}"
            );
        }
        let recreate = Limits::of(&deployment("x").replicas(3).recreate().build());
        assert_eq!((recreate.surge, recreate.unavailable, recreate.rolling), (0, 0, false));
    }
}
