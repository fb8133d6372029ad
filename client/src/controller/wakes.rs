//! What wakes a controller: changes of objects become keys in its queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::kinds::Kinds;
use coracle_api::{Key, KindRef};
use tokio_util::sync::CancellationToken;

use crate::typed::Typed;
use crate::{Change, Informers, Metadata, Queue, Stored};

/// The wiring of one controller. Each method adds a kind of change that makes it look at some keys.
pub struct Wakes {
    informers: Informers,
    queue: Arc<Queue<Key>>,
    kinds: Kinds,
    stop: CancellationToken,
}

impl Wakes {
    /// What wakes a controller goes into its queue, until `stop`.
    pub(super) fn new(
        informers: Informers,
        queue: Arc<Queue<Key>>,
        kinds: Kinds,
        stop: CancellationToken,
    ) -> Wakes {
        Wakes { informers, queue, kinds, stop }
    }

    /// Looks at the keys that `keys` names whenever an object of type `K` changes; the change's revision is among the causes.
    #[must_use]
    pub fn on<K: Typed>(self, keys: impl Fn(&Change<'_, K>) -> Vec<Key> + Send + Sync + 'static) -> Wakes {
        self.on_stored(K::kind(), keys)
    }

    /// The same for the objects of a kind in the form that `K` is of them.
    #[must_use]
    pub fn on_stored<K: Stored>(
        self,
        kind: impl Into<KindRef>,
        keys: impl Fn(&Change<'_, K>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Wakes {
        let queue = self.queue.clone();
        self.informers.store_as::<K>(kind).on_change(move |change| {
            for key in keys(change) {
                queue.add(key, Some(change.revision));
            }
        });
        self
    }

    /// Looks at the keys that `keys` names whenever an object of any kind changes that is served and is collected
    /// ([`coracle_api::Kind::is_collected`]): of those that are served now and of those that come.
    #[must_use]
    pub fn on_every_kind(
        self,
        keys: impl Fn(&Change<'_, Metadata>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Wakes {
        let (informers, queue, kinds) = (self.informers.clone(), self.queue.clone(), self.kinds.clone());
        let keys = Arc::new(keys);
        let watch = move |kind: &KindRef| {
            let (keys, queue) = (keys.clone(), queue.clone());
            informers.metadata(kind).on_change(move |change| {
                for key in keys(change) {
                    queue.add(key, Some(change.revision));
                }
            });
        };
        let mut changes = kinds.changes();
        changes.mark_unchanged();
        let collected = |kinds: &Kinds| -> BTreeSet<KindRef> {
            kinds.kept().into_iter().filter(|kind| kind.is_collected()).collect()
        };
        let mut watched = collected(&kinds);
        watched.iter().for_each(&watch);
        let informers = self.informers.clone();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(async move {
            while changes.changed().await.is_ok() {
                let now = collected(&kinds);
                now.difference(&watched).for_each(&watch);
                watched.difference(&now).for_each(|kind| informers.forget(kind));
                watched = now;
            }
        }));
        self
    }

    /// Looks at every object of type `K` that changes.
    #[must_use]
    pub fn on_each<K: Typed>(self) -> Wakes {
        self.on::<K>(|change| vec![change.object().key()])
    }

    /// Looks at the owner of type `O` whenever an object of type `K` that it controls changes, or leaves its control.
    #[must_use]
    pub fn on_owned<K: Typed, O: Typed>(self) -> Wakes {
        self.on::<K>(|change| {
            let states = [change.old, change.new];
            let mut keys: Vec<Key> =
                states.into_iter().flatten().filter_map(|o| controller_of::<K, O>(o)).collect();
            keys.dedup();
            keys
        })
    }

    /// Looks at this key from the start. Its plans say when to look again.
    #[must_use]
    pub fn from_the_start(self, key: Key) -> Wakes {
        self.queue.add(key, None);
        self
    }
}

/// The key of the controller of `object`, if it is of type `O`.
pub fn controller_of<K: Typed, O: Typed>(object: &K) -> Option<Key> {
    let owners = object.metadata().owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    if owner.kind != O::KIND || owner.api_version != O::API_VERSION {
        return None;
    }
    let namespace = if O::kind().namespaced { object.metadata().namespace.clone()? } else { String::new() };
    Some(Key::new(O::kind(), namespace, owner.name.clone()))
}
