//! A typed copy of every object of one kind, kept by the informers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use coracle_api::{Key, Object, Revision};
use parking_lot::{Mutex, RwLock};

use super::index::{Index, Keep, NsName};
use super::stored::Stored;

/// What happened to one object: the old and the new state, one of which may be missing, and when.
pub struct Change<'a, K> {
    /// As it was; `None` when it is new here.
    pub old: Option<&'a Arc<K>>,
    /// As it is; `None` when it is gone.
    pub new: Option<&'a Arc<K>>,
    /// The revision of the change.
    pub revision: Revision,
}

impl<K> Change<'_, K> {
    /// The new state, or else the last one.
    pub fn object(&self) -> &Arc<K> {
        // A change without either state is never made.
        self.new.or(self.old).expect("a change has an old or a new state")
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// Every object of one kind, as of the informers' revision. Cheap to clone; all clones show the same.
pub struct Store<K>(Arc<Shared<K>>);

struct Shared<K> {
    objects: RwLock<BTreeMap<NsName, Entry<K>>>,
    /// Also serialises changes with the registration of handlers and indexes, so that neither misses nor repeats one.
    listeners: Mutex<Listeners<K>>,
    owners: Arc<Keep<K>>,
}

struct Entry<K> {
    object: Arc<K>,
    revision: Revision,
}

struct Listeners<K> {
    handlers: Vec<Handler<K>>,
    indexes: Vec<Arc<Keep<K>>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Store<K> {
        Store(self.0.clone())
    }
}

impl<K: Stored> Default for Store<K> {
    fn default() -> Store<K> {
        Store::new()
    }
}

impl<K: Stored> Store<K> {
    /// An empty store. Informers fill theirs; tests fill one by [`Store::put`].
    pub fn new() -> Store<K> {
        let owners = Arc::new(Keep::new(K::owners));
        let listeners = Listeners { handlers: Vec::new(), indexes: vec![owners.clone()] };
        Store(Arc::new(Shared { objects: RwLock::default(), listeners: Mutex::new(listeners), owners }))
    }

    /// One object. The namespace is empty for kinds that have none.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.objects.read().get(&key).map(|entry| entry.object.clone())
    }

    /// The object of a key, whatever kind the key says.
    pub fn get_key(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// Every object, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.objects.read().values().map(|entry| entry.object.clone()).collect()
    }

    /// The objects of one namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.0.objects.read();
        let start = Bound::Included((namespace.to_owned(), String::new()));
        let within = objects.range((start, Bound::Unbounded)).take_while(|((ns, _), _)| ns == namespace);
        within.map(|(_, entry)| entry.object.clone()).collect()
    }

    /// The names in a namespace that begin like this.
    pub fn names(&self, namespace: &str, prefix: &str) -> BTreeSet<String> {
        let objects = self.0.objects.read();
        let start = Bound::Included((namespace.to_owned(), prefix.to_owned()));
        let alike = |(ns, name): &&NsName| ns == namespace && name.starts_with(prefix);
        let range = objects.range((start, Bound::Unbounded));
        range.map(|(key, _)| key).take_while(alike).map(|(_, name)| name.clone()).collect()
    }

    /// The objects that name an owner with this uid, by namespace and name.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.0.owners.find(uid)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.objects.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.objects.read().is_empty()
    }

    /// An index that is kept up to date from now on: by node, by a label, by anything that can be read off an object.
    pub fn index(&self, read: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        let keep = Arc::new(Keep::new(read));
        let mut listeners = self.0.listeners.lock();
        for (key, entry) in self.0.objects.read().iter() {
            keep.replace(key, None, Some(&entry.object));
        }
        listeners.indexes.push(keep.clone());
        Index(keep)
    }

    /// Calls `handler` for every change from now on, after the store shows it, in order of revision; first, at once, for
    /// everything that is already there (as new). It runs on the informers' task, so it must be quick, and it must not
    /// register handlers or indexes on this store.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        let mut listeners = self.0.listeners.lock();
        let present: Vec<_> = {
            let objects = self.0.objects.read();
            objects.values().map(|entry| (entry.object.clone(), entry.revision)).collect()
        };
        for (object, revision) in &present {
            handler(&Change { old: None, new: Some(object), revision: *revision });
        }
        listeners.handlers.push(Box::new(handler));
    }

    /// Puts one object in, as a change at this revision.
    pub fn put(&self, object: K, revision: Revision) {
        self.change(object.ns_name(), Some(Entry { object: Arc::new(object), revision }), revision);
    }

    /// Takes one object out, as a change at this revision.
    pub fn take(&self, namespace: &str, name: &str, revision: Revision) {
        self.change((namespace.to_owned(), name.to_owned()), None, revision);
    }

    fn change(&self, key: NsName, entry: Option<Entry<K>>, revision: Revision) {
        let listeners = self.0.listeners.lock();
        let new = entry.as_ref().map(|entry| entry.object.clone());
        let old = {
            let mut objects = self.0.objects.write();
            match entry {
                Some(entry) => objects.insert(key.clone(), entry),
                None => objects.remove(&key),
            }
        };
        let old = old.map(|entry| entry.object);
        if old.is_none() && new.is_none() {
            return;
        }
        for index in &listeners.indexes {
            index.replace(&key, old.as_ref(), new.as_ref());
        }
        let change = Change { old: old.as_ref(), new: new.as_ref(), revision };
        for handler in &listeners.handlers {
            handler(&change);
        }
    }

    fn decode(object: &Arc<Object>) -> Option<Entry<K>> {
        match K::read(object) {
            Ok(read) => Some(Entry { object: read, revision: object.revision }),
            Err(error) => {
                tracing::error!(key = %object.key, %error, "object does not fit its type; left out");
                None
            }
        }
    }
}

/// What a store does with the object of an event.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Put,
    Drop,
}

/// What the informers' task does with a store, whatever its type.
pub(super) trait Sink: Send + Sync {
    /// Takes one step of a watch.
    fn apply(&self, step: Step, object: &Arc<Object>);
    /// Replaces everything by a list that was complete at `revision`.
    fn replace(&self, objects: &[Arc<Object>], revision: Revision);
}

impl<K: Stored> Sink for Store<K> {
    fn apply(&self, step: Step, object: &Arc<Object>) {
        if !K::is_wanted(&object.key) {
            return;
        }
        let key = (object.key.namespace.clone(), object.key.name.clone());
        let entry = match step {
            // One that cannot be read is not there: better than an old state that looks current.
            Step::Put => Self::decode(object),
            Step::Drop => None,
        };
        self.change(key, entry, object.revision);
    }

    fn replace(&self, objects: &[Arc<Object>], revision: Revision) {
        let known: BTreeMap<NsName, Revision> =
            self.0.objects.read().iter().map(|(key, entry)| (key.clone(), entry.revision)).collect();
        let mut vanished = known.clone();
        for object in objects.iter().filter(|object| K::is_wanted(&object.key)) {
            let key = (object.key.namespace.clone(), object.key.name.clone());
            vanished.remove(&key);
            if known.get(&key) != Some(&object.revision) {
                self.change(key, Self::decode(object), object.revision);
            }
        }
        for key in vanished.into_keys() {
            self.change(key, None, revision);
        }
    }
}
