//! What becomes of the dependents of one owner, decided from one snapshot.

use std::sync::Arc;

use coracle_api::{Key, Revision};
use coracle_client::{Op, Propagation};
use serde_json::{Value, json};

use super::graph::{FOREGROUND, Node, ORPHAN};
use crate::workload::{release as release_patch, uid};

/// What stands behind a reference to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It lives, or goes without waiting for anybody: it keeps its dependents.
    Solid,
    /// It is gone, or what has its name is another object.
    Gone,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// Nothing is known of it.
    Unknown,
}

/// An object that names the owner.
#[derive(Clone, Debug)]
pub struct Dependent {
    /// The object.
    pub node: Arc<Node>,
    /// For each of its references, in order, what stands behind it.
    pub owners: Vec<Owner>,
    /// Whether others name it as their owner.
    pub has_dependents: bool,
    /// Whether one of those is itself waiting for its dependents: a circle, in which all would wait for ever.
    pub in_circle: bool,
}

/// All that `plan` may look at.
#[derive(Debug)]
pub struct Observed {
    /// What is at the owner's place, if anything.
    pub owner: Option<Arc<Node>>,
    /// Who names that place as an owner.
    pub dependents: Vec<Dependent>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take these owners off an object.
    Release {
        /// Which.
        key: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Stop an object from holding up its owners.
    Unblock {
        /// Which.
        key: Key,
        /// A merge patch.
        patch: Value,
    },
    /// Delete an object that nobody owns any more.
    Delete {
        /// Which.
        key: Key,
        /// And no namesake.
        uid: String,
        /// Only if it is still as it was seen: somebody may have adopted it.
        revision: Option<Revision>,
        /// What becomes of its own dependents.
        propagation: Propagation,
    },
    /// Let the owner go.
    Finalize {
        /// Which.
        key: Key,
        /// A merge patch.
        patch: Value,
    },
}

impl Action {
    /// The write that does it.
    pub fn op(self) -> Op {
        match self {
            Action::Release { key, patch }
            | Action::Unblock { key, patch }
            | Action::Finalize { key, patch } => Op::merge(key, patch),
            Action::Delete { key, uid, revision, propagation } => {
                let propagation = Some(propagation);
                Op::Delete { key, uid: Some(uid), revision, grace_seconds: None, propagation }
            }
        }
    }
}

/// Decides and does nothing else: same input, same output, and `[]` once nothing hangs in the air.
pub fn plan(observed: &Observed) -> Vec<Action> {
    let owner = observed.owner.as_deref().filter(|owner| owner.is_going());
    if let Some(owner) = owner.filter(|owner| owner.has_finalizer(ORPHAN)) {
        return orphan(owner, &observed.dependents);
    }
    let mut actions: Vec<Action> = observed.dependents.iter().flat_map(judge).collect();
    if let Some(owner) = owner.filter(|owner| owner.waits())
        && !observed.dependents.iter().any(|dependent| blocks(&dependent.node, owner))
    {
        actions.push(finalize(owner, FOREGROUND));
    }
    actions
}

/// Dependents lose the owner first; only when none names it any more may it go, or they would go with it.
fn orphan(owner: &Node, dependents: &[Dependent]) -> Vec<Action> {
    let uid = uid(&owner.meta);
    let names_it = |dependent: &&Dependent| dependent.node.owners().any(|owner| owner.uid == uid);
    let mine: Vec<&Dependent> = dependents.iter().filter(names_it).collect();
    if mine.is_empty() {
        return vec![finalize(owner, ORPHAN)];
    }
    mine.into_iter().map(|dependent| release(&dependent.node, &[uid])).collect()
}

/// What becomes of one dependent.
fn judge(dependent: &Dependent) -> Vec<Action> {
    let node = &dependent.node;
    if node.is_going() || dependent.owners.contains(&Owner::Unknown) {
        return Vec::new();
    }
    if dependent.owners.contains(&Owner::Solid) {
        let owners = node.owners().zip(&dependent.owners);
        let lost: Vec<&str> = owners
            .filter(|(_, state)| **state != Owner::Solid)
            .map(|(owner, _)| owner.uid.as_str())
            .collect();
        return if lost.is_empty() { Vec::new() } else { vec![release(node, &lost)] };
    }
    if dependent.owners.contains(&Owner::Waiting) && dependent.has_dependents {
        let unblock = dependent.in_circle.then(|| unblock(node));
        // The patch changes the version by which the delete would know it.
        let revision = if unblock.is_some() { None } else { revision(node) };
        return unblock.into_iter().chain([delete(node, revision, Propagation::Foreground)]).collect();
    }
    let propagation = if node.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if node.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    vec![delete(node, revision(node), propagation)]
}

/// Whether `owner` has to wait for `dependent`; who owns itself does not wait for itself.
fn blocks(dependent: &Node, owner: &Node) -> bool {
    let uid = uid(&owner.meta);
    dependent.key != owner.key
        && dependent.owners().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
}

fn revision(node: &Node) -> Option<Revision> {
    node.meta.resource_version.as_ref()?.parse().ok().map(Revision)
}

fn delete(node: &Node, revision: Option<Revision>, propagation: Propagation) -> Action {
    Action::Delete { key: node.key.clone(), uid: uid(&node.meta).into(), revision, propagation }
}

fn release(node: &Node, uids: &[&str]) -> Action {
    Action::Release { key: node.key.clone(), patch: release_patch(&node.meta, uids) }
}

fn unblock(node: &Node) -> Action {
    let mut owners: Vec<_> = node.owners().cloned().collect();
    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
    let patch = json!({"metadata": {
        "uid": node.meta.uid,
        "resourceVersion": node.meta.resource_version,
        "ownerReferences": owners,
    }});
    Action::Unblock { key: node.key.clone(), patch }
}

fn finalize(owner: &Node, finalizer: &str) -> Action {
    let rest: Vec<&String> =
        owner.meta.finalizers.iter().flatten().filter(|name| *name != finalizer).collect();
    let finalizers = if rest.is_empty() { Value::Null } else { json!(rest) };
    let patch = json!({"metadata": {
        "uid": owner.meta.uid,
        "resourceVersion": owner.meta.resource_version,
        "finalizers": finalizers,
    }});
    Action::Finalize { key: owner.key.clone(), patch }
}
