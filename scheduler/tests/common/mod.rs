//! Clusters in a few words.

#![allow(dead_code, reason = "each test file uses its part")]

use coracle_scheduler::decide::{Decision, decide};
use coracle_scheduler::node::NodeFacts;
use coracle_scheduler::pod::{Pod, Shapes};
use coracle_scheduler::profile::Profile;
use coracle_scheduler::sentence::sentence;
use coracle_scheduler::snapshot::Snapshot;
use serde_json::{Value, json};
use std::sync::Arc;

/// A cluster under test.
#[derive(Default)]
pub struct Cluster {
    pub snapshot: Snapshot,
    pub shapes: Shapes,
}

impl Cluster {
    /// Adds or replaces a node of 2 cpus, 4 GiB and 10 pods, with parts of its object replaced.
    pub fn node(&mut self, name: &str, change: Value) -> &mut Cluster {
        let mut object = json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "spec": {},
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10", "ephemeral-storage": "10Gi" } },
        });
        merge(&mut object, change);
        let node = serde_json::from_value(object).expect("a node");
        self.snapshot.set_node(name, NodeFacts::read(&node));
        self
    }

    /// Reads a pod with one container, with parts of its object replaced.
    pub fn read(&mut self, name: &str, change: Value) -> Pod {
        let mut object = json!({
            "metadata": { "name": name, "namespace": "d", "uid": name },
            "spec": { "containers": [{ "name": "c" }] },
        });
        merge(&mut object, change);
        self.shapes.read(&serde_json::from_value(object).expect("a pod")).pod
    }

    /// Puts a pod on a node.
    pub fn on(&mut self, node: &str, name: &str, change: Value) -> &mut Cluster {
        let pod = self.read(name, change);
        let pod = Pod { node: Some(node.into()), ..pod };
        self.snapshot.place(Arc::new(pod), node);
        self
    }

    pub fn decide(&self, pod: &Pod) -> Decision {
        decide(pod, &self.snapshot, &Profile::default(), 1)
    }

    /// The node's name, or the sentence without the part about preemption.
    pub fn outcome(&mut self, change: Value) -> String {
        let pod = self.read("p", change);
        let decision = self.decide(&pod);
        match decision.node {
            Some(slot) => self.snapshot.nodes()[slot].name.to_string(),
            None => {
                self.sentence(&pod, &decision).split(" no new claims").next().unwrap_or_default().to_string()
            }
        }
    }

    pub fn sentence(&self, pod: &Pod, decision: &Decision) -> String {
        sentence(pod, decision, self.snapshot.len())
    }
}

/// A spec whose container asks for this.
pub fn asks(requests: Value) -> Value {
    json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": requests } }] } })
}

/// A spec whose container takes a port of the node.
pub fn port(port: i32, address: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": port, "hostIP": address }] }] } })
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
