//! Who selects an object: every selector is read once, when its owner changes, and not again for every object.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Key;
use coracle_api::selector::Selector;
use coracle_client::{Store, Typed};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use parking_lot::RwLock;

use crate::labels;

/// An object that selects others by label.
pub trait Selects: Typed {
    /// Its selector; `None` selects nothing.
    fn selector(&self) -> Option<&LabelSelector>;
}

impl Selects for Deployment {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

impl Selects for ReplicaSet {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

impl Selects for PodDisruptionBudget {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().and_then(|spec| spec.selector.as_ref())
    }
}

/// By namespace, then by key.
type ByNamespace = BTreeMap<String, BTreeMap<Key, Arc<Selector>>>;

/// The selectors of all objects of a type. Cheap to clone.
#[derive(Clone, Default)]
pub struct Selectors(Arc<RwLock<ByNamespace>>);

impl Selectors {
    /// Keeps account of a store's selectors from now on.
    pub fn of<O: Selects>(store: &Store<O>) -> Selectors {
        let selectors = Selectors::default();
        let kept = selectors.clone();
        store.on_change(move |change| {
            let same = |(old, new): (&Arc<O>, &Arc<O>)| old.selector() == new.selector();
            if change.old.zip(change.new).is_some_and(same) {
                return;
            }
            let key = change.object().key();
            let mut all = kept.0.write();
            let within = all.entry(key.namespace.clone()).or_default();
            match change.new {
                Some(new) => drop(within.insert(key, Arc::new(labels::selector(new.selector())))),
                None => drop(within.remove(&key)),
            }
        });
        selectors
    }

    /// The selector of an object; one that is not known selects nothing.
    pub fn get(&self, key: &Key) -> Arc<Selector> {
        let all = self.0.read();
        let found = all.get(&key.namespace).and_then(|within| within.get(key));
        found.cloned().unwrap_or_else(|| Arc::new(Selector::nothing()))
    }

    /// The objects that select one with this metadata, in its own namespace.
    pub fn selecting(&self, object: &ObjectMeta) -> Vec<Key> {
        let all = self.0.read();
        let within = all.get(object.namespace.as_deref().unwrap_or_default());
        let mut found = Vec::new();
        for (key, selector) in within.into_iter().flatten() {
            if labels::matches(selector, object) {
                found.push(key.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Revision;
    use serde_json::json;

    use super::*;
    use crate::testing::{pod, set};

    #[test]
    fn selectors_follow_their_objects() {
        let store = Store::<ReplicaSet>::new();
        let selectors = Selectors::of(&store);
        let pod: k8s_openapi::api::core::v1::Pod = pod("p").build();
        let found = || selectors.selecting(&pod.metadata).into_iter().map(|key| key.name).collect::<Vec<_>>();
        store.put(set("a").build(), Revision(1));
        store.put(set("b").build(), Revision(2));
        assert_eq!(found(), ["a", "b"]);
        store.put(set("a").spec("selector", json!({"matchLabels": {"app": "z"}})).build(), Revision(3));
        assert_eq!(found(), ["b"]);
        store.take("default", "b", Revision(4));
        assert_eq!(found(), [""; 0]);
    }
}
