//! Reading while others write, compared with a model that remembers everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use coracle_api::{Kind, Object, kinds};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::list::ListOptions;
use super::watch::Event;
use super::*;
use crate::entry::Summary;
use crate::entry::encoding::encode;
use crate::store::Verb;

/// One write to one of a few pods.
#[derive(Clone, Copy, Debug)]
struct Write {
    namespace: usize,
    name: usize,
    /// On which node the pod is after it; `None` deletes it.
    node: Option<usize>,
}

const NODES: [&str; 3] = ["", "n1", "n2"];

fn pod(write: Write) -> Key {
    Key::new(&kinds::POD, ["a", "a-b"][write.namespace], ["x", "y", "z"][write.name])
}

fn committed(kind: &Kind, key: Key, verb: Verb, revision: u64, object: &Value) -> Committed {
    let json = encode(kind, object).at(Revision(revision));
    Committed {
        object: Arc::new(Object { key, revision: Revision(revision), json }),
        time: Timestamp::UNIX_EPOCH,
        actor: "test".into(),
        causes: Vec::new(),
        verb,
        summary: Some(Summary::of(kind, object)),
        line: None,
    }
}

/// A state, and what it was at every revision: node and revision of each pod by namespace and name.
struct World {
    state: Arc<State>,
    past: Vec<BTreeMap<String, (usize, u64)>>,
}

impl World {
    fn new(bounds: Bounds) -> World {
        World { state: Arc::new(State::new(bounds)), past: vec![BTreeMap::new()] }
    }

    fn revision(&self) -> u64 {
        self.past.len() as u64 - 1
    }

    /// Writes, if there is anything to do.
    fn write(&mut self, write: Write) {
        let mut now = self.past.last().cloned().unwrap_or_default();
        let (key, revision) = (pod(write), self.revision() + 1);
        let had = now.get(&ns_name(&key)).map(|(node, _)| *node);
        let (verb, node) = match (had, write.node) {
            (None, None) => return,
            (Some(node), None) => (Verb::Delete, node),
            (None, Some(node)) => (Verb::Create, node),
            (Some(_), Some(node)) => (Verb::Update, node),
        };
        let object = json!({"metadata": {"name": key.name, "namespace": key.namespace}, "spec": {"nodeName": NODES[node]}});
        match verb {
            Verb::Delete => drop(now.remove(&ns_name(&key))),
            _ => drop(now.insert(ns_name(&key), (node, revision))),
        }
        self.state.publish(vec![committed(&kinds::POD, key, verb, revision, &object)]);
        self.past.push(now);
    }

    fn config_map(&mut self) {
        let revision = self.revision() + 1;
        let object = json!({"metadata": {"name": "c"}});
        let key = Key::new(&kinds::CONFIG_MAP, "a", "c");
        self.state.publish(vec![committed(&kinds::CONFIG_MAP, key, Verb::Update, revision, &object)]);
        self.past.push(self.past.last().cloned().unwrap_or_default());
    }
}

fn selection(namespace: Option<&str>, node: Option<usize>) -> Selection {
    let fields = node.map(|node| format!("spec.nodeName={}", NODES[node])).unwrap_or_default();
    Selection::parse(&kinds::POD, namespace.map(str::to_owned), "", &fields).unwrap()
}

/// The pods of a selection as somebody remembers them.
fn remembered(world: &World, at: u64, namespace: Option<&str>, node: Option<usize>) -> Vec<(String, u64)> {
    let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
    let all = world.past[usize::try_from(at).unwrap()].iter();
    all.filter(|(ns_name, _)| ns_name.starts_with(&prefix))
        .filter(|(_, (on, _))| node.is_none_or(|node| node == *on))
        .map(|(ns_name, (_, revision))| (ns_name.clone(), *revision))
        .collect()
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let node = proptest::option::weighted(0.8, 0..3usize);
    let write =
        (0..2usize, 0..3usize, node).prop_map(|(namespace, name, node)| Write { namespace, name, node });
    proptest::collection::vec(write, 1..40)
}

proptest! {
    /// Every page of every list at every revision is what was there then, with an index or without.
    #[test]
    fn lists_of_the_past_are_what_was(writes in writes(), at in 0..40u64, limit in 0..3usize, node in proptest::option::of(0..3usize), ns in 0..3usize) {
        let mut world = World::new(Bounds::default());
        writes.into_iter().for_each(|write| world.write(write));
        let at = at.min(world.revision()).max(1);
        if world.revision() == 0 {
            return Ok(());
        }
        let namespace = [None, Some("a"), Some("a-b")][ns];
        let selection = selection(namespace, node);
        let mut options = ListOptions { limit, revision: Some(Revision(at)), exact: true, ..ListOptions::default() };
        let mut found = Vec::new();
        loop {
            let page = world.state.list(&selection, &options).unwrap();
            prop_assert_eq!(page.revision, Revision(at));
            prop_assert!(limit == 0 || page.entries.len() <= limit);
            found.extend(page.entries.iter().map(|e| (ns_name(&e.object.key), e.object.revision.0)));
            if page.continue_token.is_empty() {
                break;
            }
            options = ListOptions { limit, continue_token: page.continue_token, ..ListOptions::default() };
        }
        prop_assert_eq!(found, remembered(&world, at, namespace, node));
    }

    /// Whoever lists and then watches knows what is there, whenever it looks, with an index or without; and is told so where the
    /// history that is kept does not reach far enough.
    #[test]
    fn a_list_and_its_watch_are_the_present(writes in writes(), split in 0..40usize, looks in 1..5usize, node in proptest::option::of(0..3usize), count in 1..30usize) {
        let mut world = World::new(Bounds { count, ..Bounds::default() });
        let split = split.min(writes.len());
        writes[..split].iter().for_each(|write| world.write(*write));
        let selection = selection(None, node);
        let listing = world.state.list(&selection, &ListOptions::default()).unwrap();
        let mut copy: BTreeMap<String, u64> =
            listing.entries.iter().map(|e| (ns_name(&e.object.key), e.object.revision.0)).collect();
        let mut watcher = world.state.watch(vec![selection], listing.revision).unwrap();
        let mut behind = 0;
        for (step, write) in writes[split..].iter().enumerate() {
            world.write(*write);
            behind += 1;
            if step % looks != 0 {
                continue;
            }
            while let Poll::Ready(events) = poll(&mut watcher, Waker::noop()) {
                let Ok(events) = events else {
                    prop_assert!(behind > count, "{} changes are kept, {} were to be seen", count, behind);
                    return Ok(());
                };
                for event in events {
                    let (ns_name, revision) = (ns_name(&event.object().key), event.object().revision.0);
                    match event {
                        Event::Added(_) => prop_assert!(copy.insert(ns_name, revision).is_none()),
                        Event::Modified(_) => prop_assert!(copy.insert(ns_name, revision).is_some()),
                        Event::Deleted(_) => prop_assert!(copy.remove(&ns_name).is_some()),
                    }
                }
            }
            behind = 0;
            let there: BTreeMap<String, u64> = remembered(&world, world.revision(), None, node).into_iter().collect();
            prop_assert_eq!(&copy, &there);
        }
    }
}

/// Asks a watcher once.
fn poll(watcher: &mut watch::Watcher, waker: &Waker) -> Poll<Result<Vec<Event>, watch::Expired>> {
    std::pin::pin!(watcher.next()).poll(&mut Context::from_waker(waker))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_node_is_woken_for_its_own_pods_only() {
    let mut world = World::new(Bounds::default());
    let write = |name, node| Write { namespace: 0, name, node };
    world.write(write(0, Some(1)));
    let since = world.state.revision();
    let mut watcher = world.state.watch(vec![selection(None, Some(1))], since).unwrap();
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut next = std::pin::pin!(watcher.next());
    assert!(next.as_mut().poll(&mut context).is_pending());
    // Another node's pod comes, changes, and goes.
    for node in [Some(2), Some(2), None] {
        world.write(write(1, node));
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    // Its own leaves it: that is to be seen.
    world.write(write(0, Some(2)));
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Ok(events)) = next.as_mut().poll(&mut context) else {
        panic!("there is something to see")
    };
    assert!(matches!(&events[..], [Event::Deleted(_)]), "{events:?}");
}

#[test]
fn a_busy_kind_and_a_busy_node_cost_others_no_history() {
    let mut world = World::new(Bounds { count: 20, ..Bounds::default() });
    let write = |name, node| Write { namespace: 0, name, node };
    world.write(write(0, Some(1)));
    world.config_map();
    world.config_map();
    world.write(write(1, Some(2)));
    let since = Revision(1);
    let all = Selection::all(&kinds::CONFIG_MAP, None);
    let mut of_maps = world.state.watch(vec![all.clone()], since).unwrap();
    let mut of_node = world.state.watch(vec![selection(None, Some(1))], since).unwrap();
    let mut of_pods = world.state.watch(vec![selection(None, None)], since).unwrap();
    let page = world.state.list(&all, &ListOptions { limit: 1, ..ListOptions::default() }).unwrap();
    for _ in 0..100 {
        world.write(write(1, Some(2)));
    }
    let waker = Waker::noop();
    assert!(matches!(poll(&mut of_maps, waker), Poll::Ready(Ok(events)) if events.len() == 2));
    assert!(poll(&mut of_node, waker).is_pending());
    assert!(matches!(poll(&mut of_pods, waker), Poll::Ready(Err(_))), "history is bounded");
    // They resume from as long ago, too, and lists show that time.
    assert!(world.state.watch(vec![all.clone()], since).is_ok());
    let then = ListOptions { revision: Some(page.revision), exact: true, ..ListOptions::default() };
    assert!(world.state.list(&all, &then).is_ok());
    assert!(world.state.list(&selection(None, None), &then).is_err());
    let (_, kept) = world.state.changes(None, Revision(0));
    assert_eq!(kept.len(), 20, "the bound is for all together");
    // Each of them is found by its revision, and nothing is by another, or by another kind.
    for revision in (0..=world.revision() + 1).map(Revision) {
        let expected = kept.iter().find(|change| change.revision == revision);
        let of_kind = |kind: Option<&Kind>| world.state.change_at(kind, revision).1;
        assert_eq!(of_kind(None).map(|found| found.revision), expected.map(|change| change.revision));
        let is_map = expected.is_some_and(|change| *change.entry.object.key.kind == kinds::CONFIG_MAP);
        assert_eq!(of_kind(Some(&kinds::CONFIG_MAP)).is_some(), is_map, "{revision}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_future_is_waited_for_a_little() {
    let mut world = World::new(Bounds::default());
    let state = world.state.clone();
    let waits = tokio::spawn(async move { state.reach(Revision(1)).await });
    tokio::task::yield_now().await;
    world.write(Write { namespace: 0, name: 0, node: Some(0) });
    waits.await.unwrap().unwrap();
    let begin = tokio::time::Instant::now();
    let status = world.state.reach(Revision(1000)).await.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 3);
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!(
        (status.code, status.reason.as_str(), cause.reason.as_str()),
        (504, "Timeout", "ResourceVersionTooLarge")
    );
}
