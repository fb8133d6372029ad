//! Finding objects by something other than their name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

/// Namespace and name.
pub type NsName = (String, String);

/// The objects of a store by what a function reads off them. Cheap to clone.
pub struct Index<K>(pub(super) Arc<Keep<K>>);

impl<K> Clone for Index<K> {
    fn clone(&self) -> Index<K> {
        Index(self.0.clone())
    }
}

impl<K> Index<K> {
    /// The objects with this value, by namespace and name.
    pub fn find(&self, value: &str) -> Vec<Arc<K>> {
        self.0.find(value)
    }
}

type Read<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// What keeps an index.
pub(super) struct Keep<K> {
    read: Read<K>,
    found: RwLock<HashMap<String, BTreeMap<NsName, Arc<K>>>>,
}

impl<K> Keep<K> {
    pub(super) fn new(read: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Keep<K> {
        Keep { read: Box::new(read), found: RwLock::default() }
    }

    pub(super) fn find(&self, value: &str) -> Vec<Arc<K>> {
        self.found.read().get(value).map(|found| found.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn replace(&self, key: &NsName, old: Option<&Arc<K>>, new: Option<&Arc<K>>) {
        let mut found = self.found.write();
        for value in old.map(|object| (self.read)(object)).unwrap_or_default() {
            if let Some(objects) = found.get_mut(&value) {
                objects.remove(key);
                if objects.is_empty() {
                    found.remove(&value);
                }
            }
        }
        if let Some(new) = new {
            for value in (self.read)(new) {
                found.entry(value).or_default().insert(key.clone(), new.clone());
            }
        }
    }
}
