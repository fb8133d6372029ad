//! Requests and limits of a container in the kernel's terms.

use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::runtime::Limits;

/// The smallest weight that the kernel takes.
const MIN_SHARES: i64 = 2;
/// The largest.
const MAX_SHARES: i64 = 262_144;
/// The smallest quota of processor time that the kernel takes, in thousandths of a core.
const MIN_MILLI: i64 = 10;

/// What a container may use.
pub fn limits(pod: &Pod, container: &Container, node_memory: i64) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
    let read =
        |list: &std::collections::BTreeMap<
            String,
            k8s_openapi::apimachinery::pkg::api::resource::Quantity,
        >,
         name: &str| list.get(name).and_then(|quantity| quantity.0.parse::<Quantity>().ok());
    let cpu_limit = read(&limits, "cpu").map_or(0, |quantity| quantity.milli_value());
    let cpu_limit = if cpu_limit > 0 { cpu_limit.max(MIN_MILLI) } else { 0 };
    let cpu_request = read(&requests, "cpu").map_or(cpu_limit, |quantity| quantity.milli_value());
    let memory_limit = read(&limits, "memory").map_or(0, |quantity| quantity.value());
    let memory_request = read(&requests, "memory").map_or(memory_limit, |quantity| quantity.value());
    Limits {
        cpu_shares: (cpu_request.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES),
        cpu_milli: cpu_limit,
        memory: memory_limit,
        oom_score_adj: oom_score_adj(pod, memory_request, node_memory),
    }
}

/// Who is killed first when the machine runs out of memory: pods that asked for nothing, then those that asked for
/// little, never those that got what they asked for.
///
/// Source: `GetContainerOOMScoreAdjust` in `pkg/kubelet/qos/policy.go`.
fn oom_score_adj(pod: &Pod, memory_request: i64, node_memory: i64) -> i64 {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => -997,
        Some("BestEffort") | None => 1000,
        _ => {
            let score = 1000 - memory_request.saturating_mul(1000) / node_memory.max(1);
            score.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_kernel_gets_its_figures() {
        let cases = [
            (json!({}), "BestEffort", (2, 0, 0, 1000)),
            (json!({"requests": {"cpu": "100m"}}), "Burstable", (102, 0, 0, 999)),
            (json!({"limits": {"cpu": "50m", "memory": "32Mi"}}), "Guaranteed", (51, 50, 32 << 20, -997)),
            (json!({"requests": {"memory": "1Gi"}}), "Burstable", (2, 0, 0, 750)),
        ];
        for (resources, qos, expected) in cases {
            let pod: Pod = serde_json::from_value(json!({"status": {"qosClass": qos}})).unwrap();
            let container: Container =
                serde_json::from_value(json!({"name": "c", "resources": resources.clone()})).unwrap();
            let limits = limits(&pod, &container, 4 << 30);
            let got = (limits.cpu_shares, limits.cpu_milli, limits.memory, limits.oom_score_adj);
            assert_eq!(got, expected, "resources: {resources}");
        }
    }
}
