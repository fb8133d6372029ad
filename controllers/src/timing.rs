//! How patient the control plane is. Upstream's values suit real machines; a demo wants to see a node fail and its pods move
//! while people watch.

use std::time::Duration;

/// Every wait and rate of the controllers.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// How often a node renews its lease (the agent's wait, told here because the others depend on it).
    pub lease_renewal: Duration,
    /// How long a node may be silent before its conditions become Unknown.
    pub node_grace: Duration,
    /// The same for a node that has never said anything.
    pub node_startup_grace: Duration,
    /// How long a pod tolerates a node that is not ready or unreachable, if it says nothing itself. Admission gives
    /// such pods upstream's 300 s, which any client sees; here is what those count for. Other tolerations count as they
    /// are written.
    pub default_toleration: Duration,
    /// How many nodes a second may lose their pods, in a zone that is otherwise healthy.
    pub eviction_rate: f64,
    /// The same in a large zone of which too many nodes have failed. In a small one nothing is evicted then.
    pub reduced_eviction_rate: f64,
    /// The share of failed nodes from which on a zone counts as failing itself.
    pub unhealthy_zone: f64,
    /// The number of nodes from which on a zone is large.
    pub large_zone: usize,
    /// How often pods are looked at that nobody else cleans up.
    pub pod_check: Duration,
    /// How long a node may be missing before its pods count as orphans.
    pub orphan_quarantine: Duration,
    /// How many finished pods are kept.
    pub finished_pods: usize,
}

impl Timing {
    /// Upstream's defaults: the flags of `kube-controller-manager`, and the kubelet's lease of 40 s renewed four times in it.
    pub fn kubernetes() -> Timing {
        Timing {
            lease_renewal: Duration::from_secs(10),
            node_grace: Duration::from_secs(50),
            node_startup_grace: Duration::from_secs(60),
            default_toleration: Duration::from_secs(300),
            eviction_rate: 0.1,
            reduced_eviction_rate: 0.01,
            unhealthy_zone: 0.55,
            large_zone: 50,
            pod_check: Duration::from_secs(20),
            orphan_quarantine: Duration::from_secs(40),
            finished_pods: 12_500,
        }
    }

    /// For demonstrations: a node that dies is noticed after 6 s, three missed leases, as upstream's five; its pods leave 15 s later
    /// and run elsewhere within 30 s. Enough for a node to be restarted without losing its pods, and to see that it is not.
    pub fn demo() -> Timing {
        Timing {
            lease_renewal: Duration::from_secs(2),
            node_grace: Duration::from_secs(6),
            node_startup_grace: Duration::from_secs(20),
            default_toleration: Duration::from_secs(15),
            eviction_rate: 10.0,
            reduced_eviction_rate: 1.0,
            unhealthy_zone: 0.55,
            large_zone: 0,
            pod_check: Duration::from_secs(1),
            orphan_quarantine: Duration::from_secs(5),
            finished_pods: 1_000,
        }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::kubernetes()
    }
}
