//! Tables for one owner, and a law: after any delete, in any shape of graph, the collector comes to rest, every object
//! that has only lost owners is gone, and none that still has an owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Key;
use coracle_api::kinds::{self, Kinds};
use coracle_client::{Action, Op, Plan, Propagation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::graph::{FOREGROUND, Graph, Node, ORPHAN, Target, target};
use super::plan::{Dependent, Observed, Owner, plan};
use crate::workload::uid;

fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "n", name)
}

fn node(name: &str, owners: &[(&str, &str, bool)], finalizers: &[&str], going: bool) -> Node {
    let reference = |(name, uid, block): &(&str, &str, bool)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": block});
    let mut meta = json!({
        "uid": format!("{name}-uid"), "resourceVersion": "7", "finalizers": finalizers,
        "ownerReferences": owners.iter().map(reference).collect::<Vec<_>>(),
    });
    if going {
        meta["deletionTimestamp"] = json!(crate::testing::time(0));
    }
    Node::new(key(name), &serde_json::from_value(meta).expect("metadata"))
}

/// A cluster of ConfigMaps: the server's part of deletes and finalizers, and nothing else.
struct Sim {
    nodes: BTreeMap<String, Node>,
    graph: Graph,
    wake: BTreeSet<Key>,
}

impl Sim {
    fn new() -> Sim {
        Sim { nodes: BTreeMap::new(), graph: Graph::new(Kinds::new()), wake: BTreeSet::new() }
    }

    fn put(&mut self, node: Node) {
        let gone = node.is_going() && node.meta.finalizers.as_ref().is_none_or(Vec::is_empty);
        let key = node.key.clone();
        let new = (!gone).then_some(node);
        match &new {
            Some(node) => drop(self.nodes.insert(key.name.clone(), node.clone())),
            None => drop(self.nodes.remove(&key.name)),
        }
        self.wake.extend(self.graph.note(&key, new));
    }

    fn delete(&mut self, name: &str, how: Propagation) {
        let Some(mut node) = self.nodes.get(name).cloned() else { return };
        node.meta.deletion_timestamp = Some(crate::testing::time(1));
        let finalizers = node.meta.finalizers.get_or_insert_default();
        finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
        match how {
            Propagation::Orphan => finalizers.push(ORPHAN.into()),
            Propagation::Foreground => finalizers.push(FOREGROUND.into()),
            Propagation::Background => {}
        }
        self.put(node);
    }

    fn patch(&mut self, name: &str, patch: &Value) {
        let Some(mut node) = self.nodes.get(name).cloned() else { return };
        let list = |field: &str| patch["metadata"].get(field).cloned();
        if let Some(owners) = list("ownerReferences") {
            node.meta.owner_references = serde_json::from_value(owners).expect("references");
        }
        if let Some(finalizers) = list("finalizers") {
            node.meta.finalizers = serde_json::from_value(finalizers).expect("finalizers");
        }
        self.put(node);
    }

    fn observe(&self, key: &Key) -> Observed {
        let owner = |node: &Node| -> Vec<Owner> {
            let state = |o: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
                let found = self.nodes.get(&o.name).filter(|node| uid(&node.meta) == o.uid);
                found.map_or(Owner::Gone, |node| if node.waits() { Owner::Waiting } else { Owner::Solid })
            };
            node.owners().map(state).collect()
        };
        let dependent = |node: Arc<Node>| Dependent {
            owners: owner(&node),
            has_dependents: self.graph.has_dependents(&node.key),
            in_circle: self.graph.dependents(&node.key).iter().any(|node| node.waits()),
            node,
        };
        let dependents = self.graph.dependents(key).into_iter().map(dependent).collect();
        Observed { owner: self.graph.get(key), dependents }
    }

    fn carry_out(&mut self, action: &Action) {
        match action.op() {
            Some(Op::Delete { key, propagation: Some(how), .. }) => self.delete(&key.name, *how),
            Some(Op::Patch { key, patch, .. }) => self.patch(&key.name, patch),
            _ => panic!("the collector does no such thing: {action}"),
        }
        action.follow_ups().iter().for_each(|action| self.carry_out(action));
    }

    /// Runs until nobody is woken any more; returns whether that ends.
    fn settle(&mut self) -> bool {
        for _ in 0..500 {
            let Some(key) = self.wake.pop_first() else { return true };
            plan(&self.observe(&key)).actions.iter().for_each(|action| self.carry_out(action));
        }
        false
    }

    fn names(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }
}

fn sim(nodes: Vec<Node>) -> Sim {
    let mut sim = Sim::new();
    nodes.into_iter().for_each(|node| sim.put(node));
    sim
}

#[test]
fn dependents_go_stay_or_wait_as_the_delete_asked() {
    use Propagation::{Background, Foreground, Orphan};
    let plain = |name| node(name, &[], &[], false);
    let of = |name, owner: &str, block| node(name, &[(owner, &format!("{owner}-uid"), block)], &[], false);
    let cases: Vec<(&str, Vec<Node>, Propagation, &[&str])> = vec![
        ("background", vec![plain("a"), of("b", "a", false), of("c", "b", false)], Background, &[]),
        ("foreground", vec![plain("a"), of("b", "a", true), of("c", "b", true)], Foreground, &[]),
        ("orphan", vec![plain("a"), of("b", "a", false), of("c", "b", false)], Orphan, &["b", "c"]),
        (
            "another owner keeps it",
            vec![
                plain("a"),
                plain("o"),
                node("b", &[("a", "a-uid", true), ("o", "o-uid", false)], &[], false),
            ],
            Foreground,
            &["b", "o"],
        ),
        (
            "foreground waits for those that block",
            vec![plain("a"), node("b", &[("a", "a-uid", true)], &["e.com/hold"], false)],
            Foreground,
            &["a", "b"],
        ),
        (
            "and for no others",
            vec![plain("a"), node("b", &[("a", "a-uid", false)], &["e.com/hold"], false)],
            Foreground,
            &["b"],
        ),
        ("a circle", vec![of("a", "b", true), of("b", "a", true)], Foreground, &[]),
    ];
    for (name, nodes, how, expected) in cases {
        let mut sim = sim(nodes);
        assert!(sim.settle(), "case: {name}");
        sim.delete("a", how);
        assert!(sim.settle(), "case: {name}");
        assert_eq!(sim.names(), expected, "case: {name}");
    }
}

/// Both have been asked to go before their dependents, which are each other.
#[test]
fn a_circle_whose_members_are_all_asked_to_go_first_goes() {
    let of = |name, owner: &str| node(name, &[(owner, &format!("{owner}-uid"), true)], &[], false);
    for all in [vec![of("a", "b"), of("b", "a")], vec![of("a", "c"), of("b", "a"), of("c", "b")]] {
        let mut sim = sim(all);
        assert!(sim.settle());
        for name in ["a", "b", "c"] {
            sim.delete(name, Propagation::Foreground);
        }
        assert!(sim.settle());
        assert_eq!(sim.names(), [""; 0]);
    }
}

#[test]
fn owners_count_by_uid_and_the_unknown_keep_what_they_have() {
    let mut lost = sim(vec![node("a", &[], &[], false), node("b", &[("a", "other", false)], &[], false)]);
    assert!(lost.settle());
    assert_eq!(lost.names(), ["a"], "a namesake is no owner");
    let mut own = sim(vec![node("a", &[("a", "a-uid", false)], &[], false)]);
    assert!(own.settle());
    assert_eq!(own.names(), ["a"], "who owns itself stays");
    let unknown = node("b", &[("a", "a-uid", false)], &[], false);
    let dependent = Dependent {
        node: Arc::new(unknown),
        owners: vec![Owner::Unknown],
        has_dependents: false,
        in_circle: false,
    };
    assert_eq!(plan(&Observed { owner: None, dependents: vec![dependent] }), Plan::default());
}

#[test]
fn references_point_into_the_dependents_namespace() {
    let reference = |kind: &str, version: &str| {
        serde_json::from_value(json!({"apiVersion": version, "kind": kind, "name": "a", "uid": "u"}))
            .expect("one")
    };
    let cases = [
        ("ConfigMap", "v1", "n", Target::At(key("a"))),
        ("Node", "v1", "n", Target::At(Key::new(&kinds::NODE, "", "a"))),
        ("ConfigMap", "v1", "", Target::NoNamespace),
        ("Deployment", "apps/v1beta9", "n", Target::UnknownKind),
    ];
    for (kind, version, namespace, expected) in cases {
        assert_eq!(
            target(&Kinds::new(), &reference(kind, version), namespace),
            expected,
            "case: {kind} {version}"
        );
    }
}

proptest! {
    /// Any graph of a few objects, any deletes: it comes to rest; who still has a living owner, or never had one, is there, unless
    /// it was deleted itself; who has only lost owners is not.
    #[test]
    fn nothing_hangs_in_the_air(
        owners in prop::collection::vec(prop::collection::vec((0..7_usize, any::<bool>()), 0..3), 7),
        deletes in prop::collection::vec((0..7_usize, 0..3_u8), 1..4),
    ) {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let mut sim = Sim::new();
        for (number, owners) in owners.iter().enumerate() {
            // Each owner once, as the server demands; younger ones own nobody older, but circles come from the last.
            let mut seen = BTreeSet::new();
            let owners = owners.iter().filter(|(owner, _)| (*owner < number || number == 0) && seen.insert(*owner));
            let uids: Vec<(&str, String, bool)> =
                owners.map(|(owner, block)| (names[*owner], format!("{}-uid", names[*owner]), *block)).collect();
            let owners: Vec<(&str, &str, bool)> = uids.iter().map(|(n, u, b)| (*n, u.as_str(), *b)).collect();
            sim.put(node(names[number], &owners, &[], false));
        }
        sim.wake.clear();
        for (number, how) in &deletes {
            let how = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][usize::from(*how)];
            sim.delete(names[*number], how);
            prop_assert!(sim.settle(), "comes to rest");
        }
        for node in sim.nodes.values() {
            prop_assert!(!node.is_going(), "{} is stuck", node.key);
            let mut owners = node.owners().peekable();
            let lives = |name: &str| sim.nodes.contains_key(name);
            prop_assert!(owners.peek().is_none() || owners.any(|o| lives(&o.name)), "{} hangs in the air", node.key);
        }
    }
}
