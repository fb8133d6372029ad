//! What the pods of a node ask for together: how much room a pod has that wants to grow.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;

use crate::config::Size;
use crate::spec::is_terminal;
use crate::spec::requests::{Requests, Room, requests};

/// The requests of a node's pods, by uid.
#[derive(Debug, Default)]
pub struct PodRequests {
    size: Requests,
    pods: Mutex<BTreeMap<String, Requests>>,
}

impl PodRequests {
    /// Those of a node of this size, which has no pods yet.
    pub fn new(size: &Size) -> PodRequests {
        let size = Requests { cpu_milli: size.cpu_milli, memory: size.memory };
        PodRequests { size, pods: Mutex::default() }
    }

    /// Notes what a pod asks for; one that is over asks for nothing.
    pub fn note(&self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        match pod.spec.as_ref().filter(|_| !phase.is_some_and(is_terminal)) {
            Some(spec) => drop(self.pods.lock().insert(uid, requests(spec))),
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
        let others = others.fold(Requests::default(), |sum, (_, one)| Requests {
            cpu_milli: sum.cpu_milli.saturating_add(one.cpu_milli),
            memory: sum.memory.saturating_add(one.memory),
        });
        Room { all: self.size, others }
    }
}
