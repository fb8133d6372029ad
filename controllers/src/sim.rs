//! A cluster as small as a test can have: one Deployment, its sets and pods, and nothing between plan and apply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_client::{Action, Controller, Op};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::deployment::Deployments;
use crate::labels::selector;
use crate::replicaset::ReplicaSets;
use crate::testing::{merged, time};
use crate::workload::{name, uid};
use crate::{deployment, pods, replicaset};

/// The cluster.
pub struct Sim {
    pub deployment: Deployment,
    pub sets: BTreeMap<String, Arc<ReplicaSet>>,
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Seconds since the beginning; also numbers what is made.
    pub clock: i64,
    pub made: usize,
}

impl Sim {
    pub fn new(deployment: Deployment) -> Sim {
        Sim { deployment, sets: BTreeMap::new(), pods: BTreeMap::new(), clock: 0, made: 0 }
    }

    /// One run of the Deployment's controller. Returns what it did.
    pub fn sync_deployment(&mut self) -> Vec<Action> {
        let deployment = Arc::new(self.deployment.clone());
        let observed = deployment::Observed {
            selector: Arc::new(selector(deployment.spec.as_ref().map(|spec| &spec.selector))),
            sets: self.sets.values().cloned().collect(),
            pods: self.pods.values().cloned().collect(),
            taken: self.sets.keys().cloned().collect(),
            deployment,
        };
        let actions = Deployments::plan(&observed, time(self.clock).0).actions;
        actions.iter().for_each(|action| self.apply(action));
        actions
    }

    /// One run of the ReplicaSets' controller for the set of this name. Returns what it did.
    pub fn sync_set(&mut self, set: &str) -> Vec<Action> {
        let Some(set) = self.sets.get(set).cloned() else { return Vec::new() };
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let observed = replicaset::Observed {
            selector: Arc::new(selector(set.spec.as_ref().map(|spec| &spec.selector))),
            set,
            related: pods.clone(),
            pods,
        };
        let actions = ReplicaSets::plan(&observed, time(self.clock).0).actions;
        actions.iter().for_each(|action| self.apply(action));
        actions
    }

    fn apply(&mut self, action: &Action) {
        for _ in 0..action.times() {
            action.op().into_iter().for_each(|op| self.write(op));
        }
        action.follow_ups().iter().for_each(|action| self.apply(action));
    }

    fn write(&mut self, op: &Op) {
        let key = op.key();
        match (op, key.kind.kind()) {
            (Op::Create { object, .. }, "ReplicaSet") => {
                let mut set: ReplicaSet = serde_json::from_value(object.clone()).expect("a set");
                set.metadata.uid = Some(format!("{}-uid", name(&set.metadata)));
                set.metadata.creation_timestamp = Some(time(self.clock));
                set.metadata.generation = Some(1);
                let taken = self.sets.insert(name(&set.metadata).to_owned(), Arc::new(set));
                assert!(taken.is_none(), "made twice");
            }
            (Op::Create { object, .. }, _) => self.create_pod(object.clone()),
            (Op::Patch { patch, .. }, "Deployment") => self.deployment = merged(&self.deployment, patch),
            (Op::Patch { patch, .. }, "ReplicaSet") => {
                let old = &self.sets[&key.name];
                let mut new: ReplicaSet = merged(&**old, patch);
                if new.spec != old.spec {
                    new.metadata.generation = Some(old.metadata.generation.unwrap_or(0) + 1);
                }
                self.sets.insert(key.name, Arc::new(new));
            }
            (Op::Patch { patch, .. }, _) => {
                let new = merged(&*self.pods[&key.name], patch);
                self.pods.insert(key.name, Arc::new(new));
            }
            (Op::Delete { .. }, "ReplicaSet") => {
                self.sets.remove(&key.name).expect("what is deleted is there");
            }
            (Op::Delete { .. }, _) => {
                self.pods.remove(&key.name).expect("what is deleted is there");
            }
            (Op::Update { .. }, _) => unreachable!("neither controller replaces objects"),
        }
    }

    fn create_pod(&mut self, mut value: Value) {
        self.made += 1;
        let prefix = value["metadata"]["generateName"].as_str().expect("a prefix");
        let name = format!("{prefix}{}", self.made);
        value["metadata"]["name"] = json!(name);
        value["metadata"]["uid"] = json!(format!("{name}-uid"));
        value["status"] = json!({"phase": "Pending"});
        self.pods.insert(name, Arc::new(serde_json::from_value(value).expect("a pod")));
    }

    /// The pod of this number (modulo all) becomes ready.
    pub fn make_ready(&mut self, number: usize) {
        let Some(name) = self.pods.keys().nth(number % self.pods.len().max(1)).cloned() else { return };
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": time(self.clock)}]);
        let pod = merged(&*self.pods[&name], &json!({"status": {"phase": "Running", "conditions": ready}}));
        self.pods.insert(name, Arc::new(pod));
    }

    /// The pod of this number (modulo all) is lost.
    pub fn lose(&mut self, number: usize) {
        let name = self.pods.keys().nth(number % self.pods.len().max(1)).cloned();
        name.map(|name| self.pods.remove(&name));
    }

    /// Changes the Deployment as a person would.
    pub fn edit(&mut self, patch: &serde_json::Value) {
        let mut new: Deployment = merged(&self.deployment, patch);
        if new.spec != self.deployment.spec {
            new.metadata.generation = Some(new.metadata.generation.unwrap_or(0) + 1);
        }
        self.deployment = new;
    }

    /// Runs both controllers, with pods that become ready at once, until nobody has anything to do. Returns the rounds it took.
    pub fn settle(&mut self, most: usize) -> Option<usize> {
        (0..most).find(|_| {
            self.clock += 1;
            let mut idle = self.sync_deployment().is_empty();
            for set in self.sets.keys().cloned().collect::<Vec<_>>() {
                idle &= self.sync_set(&set).is_empty();
            }
            for number in 0..self.pods.len() {
                let unready = self.pods.values().nth(number).is_some_and(|pod| !pods::is_ready(pod));
                if unready {
                    self.make_ready(number);
                    idle = false;
                }
            }
            idle
        })
    }

    /// Pods that count as replicas.
    pub fn active(&self) -> usize {
        self.pods.values().filter(|pod| pods::is_active(pod)).count()
    }

    /// Pods that serve.
    pub fn available(&self) -> usize {
        self.pods.values().filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count()
    }

    /// How large each set is, by the value of its template's label `v`.
    pub fn sizes(&self) -> Vec<(String, i32)> {
        let mut sizes: Vec<_> = self
            .sets
            .values()
            .map(|set| {
                let spec = set.spec.clone().unwrap_or_default();
                let labels =
                    spec.template.and_then(|t| t.metadata).and_then(|m| m.labels).unwrap_or_default();
                (labels.get("v").cloned().unwrap_or_default(), spec.replicas.unwrap_or(1))
            })
            .collect();
        sizes.sort();
        sizes
    }

    /// The uids of the sets that own pods.
    pub fn owners(&self) -> BTreeSet<String> {
        let owner =
            |pod: &Arc<Pod>| crate::workload::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        self.pods.values().filter_map(owner).collect()
    }

    /// The uid of the set with the Deployment's template label `v`.
    pub fn uid_of(&self, version: &str) -> Option<String> {
        let is = |set: &&Arc<ReplicaSet>| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            let labels = template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
            labels.and_then(|labels| labels.get("v")).is_some_and(|v| v == version)
        };
        self.sets.values().find(is).map(|set| uid(&set.metadata).to_owned())
    }
}
