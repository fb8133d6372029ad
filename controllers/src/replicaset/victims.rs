//! Which pods a ReplicaSet gives up first when it has too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;
use crate::workload::uid;

/// The annotation by which people say how much it costs to lose a pod; 0 where it is missing.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods whose loss hurts least, in that order. `related` are all pods of the sets that the same Deployment owns:
/// the more of them share a pod's node, the less its loss hurts.
pub fn victims(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(node(pod)).or_default() += 1;
    }
    let mut order: Vec<&Arc<Pod>> = active.iter().collect();
    order.sort_by_cached_key(|pod| loss(pod, crowd.get(node(pod)).copied().unwrap_or_default(), now));
    order.into_iter().take(count).cloned().collect()
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// What losing a pod costs, most telling first; pods sort by it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    /// A pod without a node serves nobody.
    bound: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    /// Many siblings on its node.
    crowd: Reverse<usize>,
    /// Ready for long: age counts in powers of two, so that pods of about the same age go in no fixed order of nodes.
    ready_age: i32,
    restarts: Reverse<i32>,
    sidecar_restarts: Reverse<i32>,
    age: i32,
    /// Breaks ties, so that the same input gives the same plan.
    uid: String,
}

fn loss(pod: &Pod, crowd: usize, now: Timestamp) -> Loss {
    let ready = pods::is_ready(pod);
    let (restarts, sidecar_restarts) = restarts(pod);
    Loss {
        bound: !node(pod).is_empty(),
        phase: match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready,
        cost: cost(pod),
        crowd: Reverse(crowd),
        ready_age: if ready { age(pods::ready_since(pod), now) } else { 0 },
        restarts: Reverse(restarts),
        sidecar_restarts: Reverse(sidecar_restarts),
        age: age(pod.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
        uid: uid(&pod.metadata).into(),
    }
}

fn cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The power of two of an age in nanoseconds; unknown is oldest, future youngest.
fn age(since: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(since) = since else { return i32::MAX };
    let nanoseconds = now.as_nanosecond() - since.as_nanosecond();
    u128::try_from(nanoseconds).ok().and_then(u128::checked_ilog2).map_or(-1, |power| power as i32)
}

/// The most restarts of any container, and of any sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |statuses: &mut dyn Iterator<Item = &ContainerStatus>| {
        statuses.map(|status| status.restart_count).max().unwrap_or(0)
    };
    let Some(status) = &pod.status else { return (0, 0) };
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars: Vec<&str> =
        inits.filter(|c| c.restart_policy.as_deref() == Some("Always")).map(|c| c.name.as_str()).collect();
    let mut inits =
        status.init_container_statuses.iter().flatten().filter(|s| sidecars.contains(&s.name.as_str()));
    (most(&mut status.container_statuses.iter().flatten()), most(&mut inits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, time};

    #[test]
    fn the_cheapest_loss_comes_first() {
        let now = time(1_000_000).0;
        let cases: Vec<(&str, Pod, Pod)> = vec![
            ("unbound before bound", pod("a").build(), pod("b").node("n").build()),
            ("pending before unknown", pod("a").phase("Pending").build(), pod("b").phase("Unknown").build()),
            ("unknown before running", pod("a").phase("Unknown").build(), pod("b").phase("Running").build()),
            ("unready before ready", pod("a").phase("Running").build(), pod("b").ready(0).build()),
            ("negative cost before none", pod("a").annotated(DELETION_COST, "-5").build(), pod("b").build()),
            ("none before positive cost", pod("a").build(), pod("b").annotated(DELETION_COST, "5").build()),
            ("ready for a shorter time first", pod("a").ready(999_990).build(), pod("b").ready(10).build()),
            (
                "more restarts first",
                pod("a").ready(5).restarts(5).build(),
                pod("b").ready(5).restarts(1).build(),
            ),
            ("younger first", pod("a").created(999_999).build(), pod("b").created(1).build()),
        ];
        for (name, first, second) in cases {
            for pods in [[first.clone(), second.clone()], [second, first.clone()]] {
                let pods = pods.map(Arc::new);
                let got = victims(&pods, &pods, 1, now);
                assert_eq!(got[0].metadata.name, first.metadata.name, "case: {name}");
            }
        }
    }

    #[test]
    fn of_pods_alike_the_one_among_siblings_goes() {
        let alone = Arc::new(pod("a").node("n2").ready(0).build());
        let together = ["b", "c"].map(|name| Arc::<Pod>::new(pod(name).node("n1").ready(0).build()));
        let all = [alone, together[0].clone(), together[1].clone()];
        let got = victims(&all, &all, 1, time(10).0);
        assert_eq!(got[0].metadata.name.as_deref(), Some("b"));
    }
}
