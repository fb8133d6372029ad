//! Removes what has lost its last owner, in the order that the owner's delete asked for.
//!
//! ```text
//! [every kind] --watch--> Graph --key of an owner--> observe (absent owners: ask the server) --> plan
//!    --> delete dependents | take the owner off them | let the owner go
//! ```
//!
//! A key is that of an owner that is or was; one run judges everybody who names it, so that a thousand pods of one set go in two
//! batches. Owners count by uid: an object that has merely the name of a lost owner keeps nobody.

mod graph;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Change, Controller, Ctx, Error, EventRecorder, Metadata, Plan, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use parking_lot::RwLock;
use serde::Deserialize;

use self::graph::{Graph, Node, Target, target};
use self::plan::{Dependent, Observed, Owner};
use crate::Shared;
use crate::workload::uid;

/// The controller, and what it remembers: who names whom.
pub struct Collector {
    graph: RwLock<Graph>,
    events: EventRecorder,
}

impl Collector {
    /// Over all kinds that this process hears of.
    pub fn new(shared: &Shared) -> Collector {
        Collector {
            graph: RwLock::new(Graph::new(shared.client.kinds().clone())),
            events: shared.events(Collector::REPORTS_AS),
        }
    }
}

impl Controller for Collector {
    const NAME: &'static str = "garbage-collector-controller";
    const WORKERS: usize = 4;
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let it = self.clone();
        wakes.on_every_kind(move |change| it.take_note(change))
    }

    async fn observe(&self, ctx: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let (owner, nodes) = {
            let graph = self.graph.read();
            (graph.get(key), graph.dependents(key))
        };
        let mut looked_up = HashMap::new();
        let mut dependents = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut owners = Vec::new();
            for reference in node.owners() {
                owners.push(self.owner(ctx, reference, &node.key.namespace, &mut looked_up).await?);
            }
            let graph = self.graph.read();
            let below = graph.dependents(&node.key);
            dependents.push(Dependent {
                owners,
                has_dependents: graph.has_dependents(&node.key),
                in_circle: below.iter().any(|node| node.waits()),
                node,
            });
        }
        Ok(Some(Observed { owner, dependents }))
    }

    fn plan(observed: &Observed, _: Timestamp) -> Plan {
        plan::plan(observed)
    }
}

/// Whether a change touches nothing that the collector judges by: most are of a status.
fn is_same_to_us(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid
        && old.owner_references == new.owner_references
        && old.finalizers == new.finalizers
        && old.deletion_timestamp == new.deletion_timestamp
}

impl Collector {
    fn take_note(&self, change: &Change<'_, Metadata>) -> Vec<Key> {
        let (old, new) = (change.old.map(|o| &o.meta), change.new.map(|o| &o.meta));
        if let (Some(old), Some(new)) = (old, new)
            && is_same_to_us(old, new)
        {
            return self.refresh(&change.object().key, new);
        }
        self.note(change.object().key.clone(), old, new)
    }

    /// A change that wakes nobody, but changes the `resourceVersion` that writes must name. It may be the first that is seen
    /// since kinds have come.
    fn refresh(&self, key: &Key, meta: &ObjectMeta) -> Vec<Key> {
        let mut graph = self.graph.write();
        let known_now = graph.read_again();
        graph.note(key, Some(Node::new(key.clone(), meta)));
        known_now
    }

    fn note(&self, key: Key, old: Option<&ObjectMeta>, new: Option<&ObjectMeta>) -> Vec<Key> {
        let mut graph = self.graph.write();
        if let Some(new) = new {
            for owner in new.owner_references.iter().flatten() {
                let known =
                    old.iter().flat_map(|old| old.owner_references.iter().flatten()).any(|o| o == owner);
                if !known && is_elsewhere(&graph, owner, &key.namespace) {
                    self.warn_elsewhere(&key, new, owner);
                }
            }
        }
        graph.note(&key, new.map(|meta| Node::new(key.clone(), meta)))
    }

    fn warn_elsewhere(&self, key: &Key, object: &ObjectMeta, owner: &OwnerReference) {
        let OwnerReference { api_version, kind, name, uid, .. } = owner;
        let namespace = &key.namespace;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
             namespace \"{namespace}\""
        );
        let about = ObjectReference {
            api_version: Some(key.kind.api_version()),
            kind: Some(key.kind.kind().into()),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            ..ObjectReference::default()
        };
        self.events.emit(about, "Warning", "OwnerRefInvalidNamespace", "", message);
    }

    /// What stands behind a reference. Before an owner counts as gone, the server itself is asked.
    async fn owner(
        &self,
        ctx: &Ctx,
        reference: &OwnerReference,
        namespace: &str,
        looked_up: &mut HashMap<Key, Option<Node>>,
    ) -> Result<Owner, Error> {
        let Target::At(owner_key) = target(ctx.client().kinds(), reference, namespace) else {
            return Ok(Owner::Unknown);
        };
        let is_meant = |node: &Node| uid(&node.meta) == reference.uid;
        let state = |node: &Node| if node.waits() { Owner::Waiting } else { Owner::Solid };
        if let Some(node) = self.graph.read().get(&owner_key).filter(|node| is_meant(node)) {
            return Ok(state(&node));
        }
        if !looked_up.contains_key(&owner_key) {
            let found = ctx.client().get(&owner_key).await?;
            let node = found.and_then(|object| {
                let meta = object.decode::<Meta>().ok()?.metadata;
                Some(Node::new(owner_key.clone(), &meta))
            });
            looked_up.insert(owner_key.clone(), node);
        }
        let found = looked_up.get(&owner_key).and_then(Option::as_ref).filter(|node| is_meant(node));
        Ok(found.map_or(Owner::Gone, state))
    }
}

/// Whether the object that a reference means is known to be in another namespace than the reference can point to.
fn is_elsewhere(graph: &Graph, reference: &OwnerReference, namespace: &str) -> bool {
    let Some(owner_key) = graph.key_of(&reference.uid) else { return false };
    match target(graph.kinds(), reference, namespace) {
        Target::At(key) => key.namespace != owner_key.namespace,
        Target::NoNamespace => true,
        Target::UnknownKind => false,
    }
}

#[derive(Deserialize)]
struct Meta {
    metadata: ObjectMeta,
}

#[cfg(test)]
mod tests;
