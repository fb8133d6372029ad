//! Events are deleted some time after they were last written, an hour unless configured otherwise: otherwise they would
//! grow without end.
//!
//! One task follows them and knows when each is due. It looks at no object twice: a write moves an event to the end of
//! the order, and what is due stands at its beginning. Events are removed by ordinary deletes, which watches see.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Revision, kinds};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Registry;
use super::operation::{Context, DeleteOptions, Operation};
use crate::entry::Entry;
use crate::identity::Identity;
use crate::state::list::ListOptions;
use crate::state::selection::Selection;

/// How many events go in one turn, and how many at a time: they share the disk's syncs, and others' writes come in between.
const TURN: usize = 512;
const AT_ONCE: usize = 32;
/// How long to wait at most before looking at the clock again, which may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// When an event that could not be deleted is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// When each event is due. Pure.
#[derive(Debug, Default)]
struct Due {
    order: BTreeSet<(Timestamp, Key)>,
    of: HashMap<Key, (Timestamp, Revision)>,
}

impl Due {
    /// An event is due at a time, as it is at a revision; what was known of it before no longer counts.
    fn note(&mut self, key: &Key, at: Timestamp, revision: Revision) {
        self.forget(key);
        self.order.insert((at, key.clone()));
        self.of.insert(key.clone(), (at, revision));
    }

    /// An event is gone.
    fn forget(&mut self, key: &Key) {
        if let Some((at, _)) = self.of.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// When the next is due.
    fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes some of those that are due, the longest due first.
    fn take(&mut self, now: Timestamp, most: usize) -> Vec<(Key, Revision)> {
        let mut taken = Vec::new();
        while taken.len() < most
            && self.next().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.order.pop_first()
        {
            if let Some((_, revision)) = self.of.remove(&key) {
                taken.push((key, revision));
            }
        }
        taken
    }
}

/// Lets events go `after` so long, until it is stopped.
pub async fn run(registry: Arc<Registry>, after: SignedDuration, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // Comes back when the history that it follows is gone: then all is looked at anew.
        stop.run_until_cancelled(follow(&registry, after)).await;
    }
}

async fn follow(registry: &Arc<Registry>, after: SignedDuration) {
    let all = Selection::all(&kinds::EVENT, None);
    let Ok(listing) = registry.list(&all, &ListOptions::default()) else { return };
    let Ok(mut watcher) = registry.watch(vec![all], listing.revision) else { return };
    let mut due = Due::default();
    let note = |due: &mut Due, entry: &Entry| {
        let written = entry.written().unwrap_or_else(|| registry.clock().now());
        let at = written.checked_add(after).unwrap_or(Timestamp::MAX);
        due.note(&entry.object.key, at, entry.object.revision);
    };
    listing.entries.iter().for_each(|entry| note(&mut due, entry));
    drop(listing);
    loop {
        let now = registry.clock().now();
        let wait = due.next().map_or(LOOK_EVERY, |at| {
            Duration::try_from(now.duration_until(at)).unwrap_or_default().min(LOOK_EVERY)
        });
        tokio::select! {
            biased;
            events = watcher.next() => {
                let Ok(events) = events else { return };
                for event in events {
                    match event.is_end() {
                        true => due.forget(&event.object().key),
                        false => note(&mut due, event.entry()),
                    }
                }
            }
            () = tokio::time::sleep(wait) => {
                let now = registry.clock().now();
                let taken = due.take(now, TURN);
                for (key, revision) in remove(registry, taken).await {
                    due.note(&key, now.checked_add(AGAIN).unwrap_or(Timestamp::MAX), revision);
                }
            }
        }
    }
}

/// Deletes events as they were; gives those back that could not be deleted now. One that was written meanwhile stays: the watch tells
/// of it.
async fn remove(registry: &Arc<Registry>, events: Vec<(Key, Revision)>) -> Vec<(Key, Revision)> {
    let user = Identity::new("system:apiserver", &["system:masters", "system:authenticated"]);
    let context = Context { actor: "event-ttl".into(), ..Context::of(user) };
    let deletes = events.into_iter().map(|(key, revision)| {
        let options = DeleteOptions { revision: Some(revision.to_string()), ..DeleteOptions::default() };
        let operation = Operation::Delete { key: key.clone(), options };
        let context = &context;
        async move {
            match registry.perform(context.clone(), operation).await.result {
                Err(status) if !matches!(status.code, 404 | 409) => Some((key, revision)),
                _ => None,
            }
        }
    });
    stream::iter(deletes).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

#[cfg(test)]
mod tests {
    use coracle_client::Clock;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::state::watch::Event;
    use crate::store::{Bounds, Memory};
    use crate::write::operation::{Body, PatchForm};

    proptest! {
        /// Each goes once, at its time, in order; a later write of it puts that off.
        #[test]
        fn what_is_due_goes_in_order(writes in proptest::collection::vec((0..5usize, 0..20i64), 0..30), now in 0..20i64, most in 1..6usize) {
            let key = |n: usize| Key::new(&kinds::EVENT, "default", n.to_string());
            let at = |second: i64| Timestamp::from_second(second).unwrap();
            let (mut due, mut last) = (Due::default(), HashMap::new());
            for (number, (name, second)) in (1..).zip(&writes) {
                due.note(&key(*name), at(*second), Revision(number));
                last.insert(*name, (*second, Revision(number)));
            }
            let mut expected: Vec<_> =
                last.iter().filter(|(_, (second, _))| *second <= now).map(|(n, (s, r))| (*s, key(*n), *r)).collect();
            expected.sort();
            expected.truncate(most);
            let taken = due.take(at(now), most);
            prop_assert_eq!(&taken, &expected.into_iter().map(|(_, key, revision)| (key, revision)).collect::<Vec<_>>());
            prop_assert_eq!(due.order.len(), last.len() - taken.len());
            prop_assert_eq!(due.of.len(), due.order.len());
        }
    }

    async fn perform(registry: &Arc<Registry>, operation: Operation) {
        let context = Context::of(Identity::new("test", &["system:masters"]));
        registry.perform(context.clone(), operation).await.result.unwrap();
    }

    async fn event(registry: &Arc<Registry>, name: &str) -> Key {
        let body = json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default"}});
        let namespace = "default".to_owned();
        perform(
            registry,
            Operation::Create { kind: (&kinds::EVENT).into(), namespace, sub: None, body: Body::Tree(body) },
        )
        .await;
        Key::new(&kinds::EVENT, "default", name)
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_goes_an_hour_after_its_last_write() {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let store = Memory::new(Bounds::default());
        let open = || Registry::open(Box::new(store.another()), Bounds::default(), clock.clone());
        let registry = open().await.unwrap();
        registry.ensure_system_objects("127.0.0.1:1".parse().unwrap()).await;
        let minutes = |minutes: u64| tokio::time::sleep(Duration::from_secs(60 * minutes));
        let old = event(&registry, "old").await;
        minutes(20).await;
        let kept = event(&registry, "kept").await;
        // The server starts anew: what it finds is as old as it was.
        registry.close().await;
        let registry = open().await.unwrap();
        let stop = CancellationToken::new();
        let hour = SignedDuration::from_hours(1);
        let task = tokio::spawn(run(registry.clone(), hour, stop.clone()));
        let all = vec![Selection::all(&kinds::EVENT, None)];
        let mut watcher = registry.watch(all, registry.revision()).unwrap();
        minutes(39).await;
        assert!(registry.get(&old).is_some() && registry.get(&kept).is_some());
        let (sub, form) = (None, PatchForm::Merge);
        let patch = Body::Tree(json!({"count": 2}));
        perform(&registry, Operation::Patch { key: kept.clone(), sub, form, body: patch }).await;
        minutes(2).await;
        assert!(registry.get(&old).is_none() && registry.get(&kept).is_some(), "after 61 and 41 minutes");
        let events: Vec<Event> = watcher.next().await.unwrap();
        assert!(matches!(&events[..], [Event::Modified(_), Event::Deleted(gone)] if gone.object.key == old));
        minutes(55).await;
        assert!(registry.get(&kept).is_some(), "57 minutes after its last write");
        minutes(4).await;
        assert!(registry.get(&kept).is_none());
        // Many at once, and other kinds not at all.
        for name in 0..TURN + 10 {
            event(&registry, &name.to_string()).await;
        }
        minutes(62).await;
        let counts = registry.counts();
        assert!(
            counts.contains(&("events".into(), 0)) && counts.contains(&("namespaces".into(), 4)),
            "{counts:?}"
        );
        stop.cancel();
        task.await.unwrap();
    }
}
