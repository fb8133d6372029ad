//! Objects without a controller.

use std::sync::Arc;

use coracle_client::{Index, Store, Typed};

use super::owner::controller_of;

/// The objects of type `K` that nobody controls, by namespace. Cheap to clone.
pub struct Orphans<K>(Index<K>);

impl<K> Clone for Orphans<K> {
    fn clone(&self) -> Orphans<K> {
        Orphans(self.0.clone())
    }
}

impl<K: Typed> Orphans<K> {
    /// Keeps account of a store's orphans from now on.
    pub fn of(store: &Store<K>) -> Orphans<K> {
        Orphans(store.index(|object| match controller_of(object.metadata()) {
            Some(_) => Vec::new(),
            None => object.metadata().namespace.clone().into_iter().collect(),
        }))
    }

    /// Those of one namespace, by name.
    pub fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.find(namespace)
    }
}
