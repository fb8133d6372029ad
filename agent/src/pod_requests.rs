//! What the pods of a node ask for together: whether there is room for a pod that is new here, and how much there is for one that
//! wants to grow.
//!
//! Pods are noted as the API shows them, in the order of its changes. The scheduler counts by the same changes, so that
//! nothing is refused here because a pod that it saw go is still ending.

use std::collections::BTreeMap;

use coracle_api::podspec::host_ports::{HostPort, host_ports};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use crate::config::Size;
use crate::spec::is_terminal;
use crate::spec::requests::{Requests, Room, allocated};

/// What the pods of a node take of it, by uid.
#[derive(Debug, Default)]
pub struct NodeRoom {
    size: Requests,
    most_pods: i64,
    pods: Mutex<BTreeMap<String, Taken>>,
}

/// What one pod takes of the node.
#[derive(Debug)]
struct Taken {
    requests: Requests,
    ports: Vec<HostPort>,
}

/// What a node has for a pod that is new to it.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Cpu, memory and disk.
    pub room: Room,
    /// How many pods it takes.
    pub most_pods: i64,
    /// How many it has.
    pub pods: i64,
    /// The ports of the machine that those have.
    pub ports: Vec<HostPort>,
}

impl NodeRoom {
    /// Those of a node of this size, which has no pods yet.
    pub fn new(size: &Size) -> NodeRoom {
        let requests = Requests { cpu_milli: size.cpu_milli, memory: size.memory, storage: size.storage };
        NodeRoom { size: requests, most_pods: size.pods, pods: Mutex::default() }
    }

    /// Notes what a pod takes; one that is over takes nothing.
    pub fn note(&self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        match pod.spec.as_ref().filter(|_| !phase.is_some_and(is_terminal)) {
            Some(spec) => {
                let taken = Taken { requests: allocated(pod), ports: host_ports(spec) };
                self.pods.lock().insert(uid, taken);
            }
            None => self.forget(&uid),
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }

    /// What there is for one pod.
    pub fn room(&self, uid: &str) -> Room {
        let pods = self.pods.lock();
        let others = pods.iter().filter(|(of, _)| *of != uid);
        let others = others.fold(Requests::default(), |sum, (_, one)| sum.plus(one.requests));
        Room { all: self.size, others }
    }

    /// What there is for a pod that is not noted yet.
    pub fn offer(&self) -> Offer {
        let room = self.room("");
        let pods = self.pods.lock();
        let ports = pods.values().flat_map(|one| one.ports.iter().cloned()).collect();
        let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        Offer { room, most_pods: self.most_pods, pods: count, ports }
    }
}
