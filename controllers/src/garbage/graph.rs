//! Who names whom as an owner, for all objects of all kinds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use coracle_api::Key;
use coracle_api::kinds::{Kinds, Rows};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::workload::uid;

/// The finalizer of an object whose dependents are to stay.
pub const ORPHAN: &str = "orphan";
/// The finalizer of an object whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";

/// What the collector knows of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What names it.
    pub key: Key,
    /// Of its metadata: uid, version, owners, finalizers, and whether it is being deleted.
    pub meta: ObjectMeta,
}

impl Node {
    /// What is worth knowing of an object.
    pub fn new(key: Key, meta: &ObjectMeta) -> Node {
        let meta = ObjectMeta {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            owner_references: meta.owner_references.clone(),
            finalizers: meta.finalizers.clone(),
            deletion_timestamp: meta.deletion_timestamp.clone(),
            ..ObjectMeta::default()
        };
        Node { key, meta }
    }

    /// Whether it is being deleted.
    pub fn is_going(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether it has this finalizer.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
    }

    /// Whether it is being deleted and waits for its dependents to go first.
    pub fn waits(&self) -> bool {
        self.is_going() && self.has_finalizer(FOREGROUND)
    }

    /// Its owners.
    pub fn owners(&self) -> impl Iterator<Item = &OwnerReference> {
        self.meta.owner_references.iter().flatten()
    }
}

/// Where a reference of an object in `namespace` points.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Here.
    At(Key),
    /// At a kind or version that nobody serves: nothing can be said about it.
    UnknownKind,
    /// From outside all namespaces to a kind that lives in one: it can point nowhere.
    NoNamespace,
}

/// Where a reference of an object in `namespace` points: an owner is sought in the dependent's own namespace, or outside all.
pub fn target(kinds: &Kinds, reference: &OwnerReference, namespace: &str) -> Target {
    let Some(kind) = kinds.by_kind(&reference.api_version, &reference.kind) else {
        return Target::UnknownKind;
    };
    if kind.namespaced && namespace.is_empty() {
        return Target::NoNamespace;
    }
    let namespace = if kind.namespaced { namespace } else { "" };
    Target::At(Key::new(kind, namespace, reference.name.clone()))
}

/// All objects, and for each key that is named as an owner who names it.
pub struct Graph {
    kinds: Kinds,
    /// The rows by which the references were read.
    rows: Arc<Rows>,
    nodes: HashMap<Key, Arc<Node>>,
    by_uid: HashMap<String, Key>,
    dependents: HashMap<Key, BTreeSet<Key>>,
}

impl Graph {
    /// Nobody yet. References are read by this table of kinds.
    pub fn new(kinds: Kinds) -> Graph {
        Graph {
            rows: kinds.snapshot(),
            kinds,
            nodes: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
        }
    }

    /// The table of kinds by which references are read.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The object with this key.
    pub fn get(&self, key: &Key) -> Option<Arc<Node>> {
        self.nodes.get(key).cloned()
    }

    /// Where the object with this uid is, if it is known.
    pub fn key_of(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// The objects that name `key` as an owner, whether or not what is there has the uid they mean.
    pub fn dependents(&self, key: &Key) -> Vec<Arc<Node>> {
        let keys = self.dependents.get(key).into_iter().flatten();
        keys.filter_map(|key| self.nodes.get(key).cloned()).collect()
    }

    /// Whether anybody names `key` as an owner.
    pub fn has_dependents(&self, key: &Key) -> bool {
        self.dependents.get(key).is_some_and(|keys| !keys.is_empty())
    }

    /// Takes note of a change: `None` is gone. Returns the keys that have to be looked at.
    pub fn note(&mut self, key: &Key, new: Option<Node>) -> Vec<Key> {
        let known_now = self.read_again();
        let old = match new {
            Some(node) => self.insert(node),
            None => self.nodes.remove(key),
        };
        let new = self.nodes.get(key).cloned();
        let (before, after) = (self.owner_keys(old.as_deref()), self.owner_keys(new.as_deref()));
        if let Some(old) = &old
            && new.as_ref().is_none_or(|new| new.meta.uid != old.meta.uid)
        {
            self.by_uid.remove(uid(&old.meta));
        }
        for owner_key in before.difference(&after) {
            if let Some(dependents) = self.dependents.get_mut(owner_key) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(owner_key);
                }
            }
        }
        for owner_key in after.difference(&before) {
            self.dependents.entry(owner_key.clone()).or_default().insert(key.clone());
        }
        let own = self.is_urgent(key, new.as_deref()).then(|| key.clone());
        let owners = before.union(&after).filter(|owner_key| self.concerns(owner_key, new.as_deref()));
        own.into_iter().chain(owners.cloned()).chain(known_now).collect()
    }

    /// Reads all references again where the table of kinds has changed: they may point to what was not known before. Returns the
    /// keys that are.
    pub fn read_again(&mut self) -> Vec<Key> {
        let rows = self.kinds.snapshot();
        if Arc::ptr_eq(&rows, &self.rows) {
            return Vec::new();
        }
        self.rows = rows;
        let mut dependents: HashMap<Key, BTreeSet<Key>> = HashMap::new();
        for (key, node) in &self.nodes {
            for owner_key in self.owner_keys(Some(node)) {
                dependents.entry(owner_key).or_default().insert(key.clone());
            }
        }
        let old = std::mem::replace(&mut self.dependents, dependents);
        self.dependents.keys().filter(|owner_key| !old.contains_key(*owner_key)).cloned().collect()
    }

    /// Whether what happened to the object at `key` may matter to those who name it.
    fn is_urgent(&self, key: &Key, node: Option<&Node>) -> bool {
        node.is_some_and(Node::is_going) || self.has_dependents(key)
    }

    /// Whether what happened to a dependent may matter to an owner: one that is being deleted may wait for it, and
    /// one that is not there cannot keep it. A pod that starts is neither, and pods start by the thousand.
    fn concerns(&self, owner_key: &Key, dependent: Option<&Node>) -> bool {
        let Some(owner) = self.nodes.get(owner_key) else { return true };
        let meant =
            |node: &Node| node.owners().all(|o| o.name != owner_key.name || o.uid == uid(&owner.meta));
        owner.is_going() || !dependent.is_none_or(meant)
    }

    fn insert(&mut self, node: Node) -> Option<Arc<Node>> {
        self.by_uid.insert(uid(&node.meta).to_owned(), node.key.clone());
        self.nodes.insert(node.key.clone(), Arc::new(node))
    }

    fn owner_keys(&self, node: Option<&Node>) -> BTreeSet<Key> {
        let keys = node.into_iter().flat_map(|node| {
            node.owners().filter_map(|owner| match target(&self.kinds, owner, &node.key.namespace) {
                Target::At(key) => Some(key),
                Target::UnknownKind | Target::NoNamespace => None,
            })
        });
        keys.collect()
    }
}
