//! What becomes of the dependents of one owner, decided from one snapshot.

use std::sync::Arc;

use coracle_api::Revision;
use coracle_client::{Action, Op, Plan, Propagation};
use serde_json::{Value, json};

use super::graph::{FOREGROUND, Node, ORPHAN};
use crate::workload::{release as release_patch, uid};

/// What stands behind a reference to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It lives, or is deleted without waiting for its dependents: it keeps them.
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
    /// Who names that key as an owner.
    pub dependents: Vec<Dependent>,
}

/// Decides and does nothing else: same input, same output, and no actions once no object has only lost owners.
pub fn plan(observed: &Observed) -> Plan {
    Plan::of(actions(observed))
}

fn actions(observed: &Observed) -> Vec<Action> {
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
    let waits_for_it = dependent.owners.contains(&Owner::Waiting);
    if node.is_going() {
        // Of two that wait for each other, neither would ever go.
        let is_stuck = waits_for_it && dependent.in_circle && node.waits() && holds_up(node);
        return if is_stuck { vec![unblock(node)] } else { Vec::new() };
    }
    if dependent.owners.contains(&Owner::Unknown) {
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
    if waits_for_it && dependent.has_dependents {
        if dependent.in_circle {
            // The patch changes the `resourceVersion` that the delete would name.
            return vec![unblock(node).then(delete(node, None, Propagation::Foreground))];
        }
        return vec![delete(node, revision(node), Propagation::Foreground)];
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

/// Whether any owner has to wait for it.
fn holds_up(node: &Node) -> bool {
    node.owners().any(|owner| owner.block_owner_deletion == Some(true))
}

fn revision(node: &Node) -> Option<Revision> {
    node.meta.resource_version.as_ref()?.parse().ok().map(Revision)
}

/// Deletes an object that nobody owns any more: no namesake, and with a revision only if it is still as it was seen, since somebody
/// may have adopted it.
fn delete(node: &Node, revision: Option<Revision>, propagation: Propagation) -> Action {
    Action::write(Op::Delete {
        key: node.key.clone(),
        uid: Some(uid(&node.meta).into()),
        revision,
        grace_seconds: None,
        propagation: Some(propagation),
    })
}

/// Takes these owners off an object.
fn release(node: &Node, uids: &[&str]) -> Action {
    Action::write(Op::merge(node.key.clone(), release_patch(&node.meta, uids)))
}

/// Stops an object from holding up its owners.
fn unblock(node: &Node) -> Action {
    let mut owners: Vec<_> = node.owners().cloned().collect();
    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
    patch(node, "ownerReferences", json!(owners))
}

/// Lets an owner go that has waited.
fn finalize(owner: &Node, finalizer: &str) -> Action {
    let rest: Vec<&String> =
        owner.meta.finalizers.iter().flatten().filter(|name| *name != finalizer).collect();
    patch(owner, "finalizers", if rest.is_empty() { Value::Null } else { json!(rest) })
}

/// Changes a field of the metadata of this very object, if it is still as it was seen.
fn patch(node: &Node, field: &str, value: Value) -> Action {
    let patch = json!({"metadata": {
        "uid": node.meta.uid,
        "resourceVersion": node.meta.resource_version,
        field: value,
    }});
    Action::write(Op::merge(node.key.clone(), patch))
}
