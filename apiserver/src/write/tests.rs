//! Laws of reading while others write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use coracle_api::{Key, KindRef, Revision, Status, kinds};
use coracle_client::clock::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::operation::{Body, Context, DeleteOptions, Operation, PatchForm, Written};
use crate::admission::chain::Chain;
use crate::identity::Identity;
use crate::registry::Registry;
use crate::state::list::ListOptions;
use crate::state::selection::Selection;
use crate::state::watch::Event;
use crate::store::{Batch, Bounds, Follower, Memory, Outcome, Store, StoreError};

pub(super) struct World {
    pub(super) registry: Arc<Registry>,
    store: Memory,
    /// How many commits still go well.
    pub(super) left: Arc<AtomicUsize>,
}

/// A store that takes its time, so that a commit can be abandoned, and that breaks when it is told to.
struct Slow(Memory, Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Store for Slow {
    async fn load(&self, follower: Arc<dyn Follower>) -> Result<(), StoreError> {
        self.0.load(follower).await
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Outcome>, StoreError> {
        tokio::task::yield_now().await;
        let one_less = |left: usize| left.checked_sub(1);
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            return Err(StoreError::Disk("no space left on device".into()));
        }
        let outcomes = self.0.commit(batch).await;
        tokio::task::yield_now().await;
        outcomes
    }

    fn age(&self) {}

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

impl World {
    pub(super) async fn new(count: usize) -> World {
        World::with(Bounds { count, age_seconds: i64::MAX / 4, ..Bounds::default() }).await
    }

    async fn with(bounds: Bounds) -> World {
        World::with_chain(bounds, Chain::default()).await
    }

    pub(super) async fn with_chain(bounds: Bounds, chain: Chain) -> World {
        let store = Memory::new(bounds);
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let slow = Box::new(Slow(store.another(), left.clone()));
        let registry = Registry::open_with(slow, bounds, Clock::system(), chain).await.unwrap();
        registry.ensure_system_objects("127.0.0.1:1".parse().unwrap()).await;
        World { registry, store, left }
    }

    pub(super) async fn make(&self, kind: impl Into<KindRef>, body: Value) -> Result<Written, Status> {
        let kind = kind.into();
        let namespace = if kind.namespaced { "default".to_string() } else { String::new() };
        self.perform(Operation::Create { kind, namespace, sub: None, body: Body::Tree(body) }).await
    }

    /// A pod that no node has, with everything that it needs.
    pub(super) async fn make_pod(&self, name: &str) -> Key {
        let _ = self.make(&kinds::SERVICE_ACCOUNT, json!({"metadata": {"name": "default"}})).await;
        let spec = json!({"containers": [{"name": "c", "image": "i"}]});
        self.make(&kinds::POD, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        Key::new(&kinds::POD, "default", name)
    }

    pub(super) async fn perform(&self, operation: Operation) -> Result<Written, Status> {
        let context = Context::of(Identity::new("test", &["system:masters"]));
        self.registry.perform(context, operation).await.result
    }

    async fn create(&self, name: &str, label: &str) -> Result<Written, Status> {
        let body = json!({"metadata": {"name": name, "labels": {"l": label}}});
        let (kind, namespace) = (kinds::CONFIG_MAP.handle(), "default".to_string());
        self.perform(Operation::Create { kind, namespace, sub: None, body: Body::Tree(body) }).await
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<Written, Status> {
        let (sub, form) = (None, PatchForm::Merge);
        self.perform(Operation::Patch { key: key(name), sub, form, body: Body::Tree(patch) }).await
    }

    async fn delete(&self, name: &str) -> Result<Written, Status> {
        self.perform(Operation::Delete { key: key(name), options: DeleteOptions::default() }).await
    }

    fn names(&self, selection: &Selection, options: &ListOptions) -> Result<Vec<String>, Status> {
        let listing = self.registry.list(selection, options)?;
        Ok(listing.entries.iter().map(|entry| entry.object.key.name.clone()).collect())
    }
}

fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

fn labelled(label: &str) -> Selection {
    let text = if label.is_empty() { String::new() } else { format!("l={label}") };
    Selection::parse(&kinds::CONFIG_MAP, Some("default".into()), &text, "").unwrap()
}

/// Writes something somewhere. Whether it goes well depends on what is there, and on nothing else.
async fn random_write(world: &World, random: &mut StdRng, there: &mut BTreeSet<String>) {
    let name = format!("n{}", random.random_range(0..8));
    let label = ["a", "b"][random.random_range(0..2)];
    let (outcome, refusal) = match random.random_range(0..4) {
        0 | 1 => (world.create(&name, label).await, there.contains(&name).then_some("AlreadyExists")),
        2 => {
            let patch = json!({"metadata": {"labels": {"l": label}}});
            (world.patch(&name, patch).await, (!there.contains(&name)).then_some("NotFound"))
        }
        _ => (world.delete(&name).await, (!there.contains(&name)).then_some("NotFound")),
    };
    match outcome {
        Ok(Written { gone: true, .. }) => assert!(refusal.is_none() && there.remove(&name)),
        Ok(_) => {
            assert_eq!(refusal, None);
            there.insert(name);
        }
        Err(status) => assert_eq!(Some(status.reason.as_str()), refusal),
    }
}

#[tokio::test]
async fn a_list_and_every_event_behind_it_make_the_next_list() {
    let world = World::new(10_000).await;
    let (mut random, mut there) = (StdRng::seed_from_u64(11), BTreeSet::new());
    for _ in 0..30 {
        random_write(&world, &mut random, &mut there).await;
    }
    let selections = [labelled(""), labelled("a"), labelled("b")];
    let mut copies = Vec::new();
    for selection in &selections {
        let listing = world.registry.list(selection, &ListOptions::default()).unwrap();
        let copy: BTreeMap<String, u64> =
            listing.entries.iter().map(|e| (e.object.key.name.clone(), e.object.revision.0)).collect();
        copies.push((copy, world.registry.watch(vec![selection.clone()], listing.revision).unwrap()));
    }
    for _ in 0..200 {
        random_write(&world, &mut random, &mut there).await;
    }
    let end = world.registry.revision();
    for (selection, (mut copy, mut watcher)) in selections.iter().zip(copies) {
        let mut last = Revision(0);
        while let Ok(Ok(events)) =
            tokio::time::timeout(std::time::Duration::from_millis(20), watcher.next()).await
        {
            for event in events {
                let object = event.object();
                assert!(object.revision > last, "in order and without repeat");
                last = object.revision;
                let name = object.key.name.clone();
                match event {
                    Event::Added(_) => assert!(copy.insert(name, last.0).is_none(), "added twice"),
                    Event::Modified(_) => {
                        assert!(copy.insert(name, last.0).is_some(), "modified before added")
                    }
                    Event::Deleted(_) => assert!(copy.remove(&name).is_some(), "deleted twice"),
                }
            }
        }
        assert_eq!(watcher.seen(), end);
        let listing = world.registry.list(selection, &ListOptions::default()).unwrap();
        let now: BTreeMap<String, u64> =
            listing.entries.iter().map(|e| (e.object.key.name.clone(), e.object.revision.0)).collect();
        assert_eq!(copy, now);
    }
    let all = world.names(&labelled(""), &ListOptions::default()).unwrap();
    assert_eq!(all, there.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn pages_show_one_revision_while_others_write() {
    let world = World::new(10_000).await;
    for name in ["a", "b", "c", "d", "e"] {
        world.create(name, "x").await.unwrap();
    }
    let first = ListOptions { limit: 2, ..ListOptions::default() };
    let page = world.registry.list(&labelled(""), &first).unwrap();
    assert_eq!(page.remaining, Some(3));
    world.delete("c").await.unwrap();
    world.create("bb", "x").await.unwrap();
    world.patch("d", json!({"data": {"k": "new"}})).await.unwrap();
    let next = ListOptions { continue_token: page.continue_token, ..ListOptions::default() };
    let rest = world.registry.list(&labelled(""), &next).unwrap();
    let names: Vec<&str> = rest.entries.iter().map(|e| e.object.key.name.as_str()).collect();
    assert_eq!((names, rest.revision), (vec!["c", "d", "e"], page.revision));
    assert!(rest.entries.iter().all(|entry| entry.object.revision <= page.revision));
    let exact = ListOptions { revision: Some(page.revision), exact: true, ..ListOptions::default() };
    assert_eq!(world.names(&labelled(""), &exact).unwrap(), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn who_falls_behind_the_history_is_told_so() {
    let world = World::new(5).await;
    let mut watcher = world.registry.watch(vec![labelled("")], world.registry.revision()).unwrap();
    let page = {
        world.create("a", "x").await.unwrap();
        world.create("b", "x").await.unwrap();
        world.registry.list(&labelled(""), &ListOptions { limit: 1, ..ListOptions::default() }).unwrap()
    };
    for n in 0..10 {
        world.patch("a", json!({"data": {"n": n.to_string()}})).await.unwrap();
    }
    assert!(watcher.next().await.is_err());
    assert!(world.registry.watch(vec![labelled("")], Revision(1)).is_err());
    let next = ListOptions { continue_token: page.continue_token, ..ListOptions::default() };
    let status = world.registry.list(&labelled(""), &next).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    // The answer carries a token that goes on with what there is now.
    let token = status.metadata["continue"].as_str().unwrap().to_string();
    let on = ListOptions { continue_token: token, ..ListOptions::default() };
    assert_eq!(world.names(&labelled(""), &on).unwrap(), ["b"]);
}

#[tokio::test]
async fn a_finalizer_holds_and_its_going_lets_go() {
    let world = World::new(10_000).await;
    world.create("a", "x").await.unwrap();
    world.patch("a", json!({"metadata": {"finalizers": ["e.com/hold"]}})).await.unwrap();
    let marked = world.delete("a").await.unwrap();
    assert!(!marked.gone);
    let again = world.delete("a").await.unwrap();
    assert_eq!(again.object.revision, marked.object.revision, "a second delete changes nothing");
    let taken = world.create("a", "x").await.unwrap_err();
    assert_eq!(taken.message, "object is being deleted: configmaps \"a\" already exists");
    assert!(world.patch("a", json!({"metadata": {"finalizers": null}})).await.unwrap().gone);
    assert!(world.registry.get(&key("a")).is_none());
}

#[tokio::test]
async fn writes_that_change_nothing_keep_the_revision() {
    let world = World::new(10_000).await;
    let made = world.create("a", "x").await.unwrap();
    let same = world.patch("a", json!({"metadata": {"labels": {"l": "x"}}})).await.unwrap();
    assert_eq!(same.object.revision, made.object.revision);
    let stale = world.patch("a", json!({"metadata": {"resourceVersion": "1"}})).await.unwrap_err();
    assert_eq!(stale.reason, "Conflict", "a stale revision conflicts even so");
}

#[tokio::test]
async fn history_is_bounded_by_bytes_and_by_age() {
    let world = World::with(Bounds { memory_bytes: 60_000, ..Bounds::default() }).await;
    world.create("big", "a").await.unwrap();
    for number in 0..40 {
        let text = format!("{number}").repeat(2_000);
        world.patch("big", json!({"data": {"text": text}})).await.unwrap();
    }
    let (floor, kept) = world.registry.changes(Some(&kinds::CONFIG_MAP), Revision(0));
    assert!((10..25).contains(&kept.len()), "superseded objects of 2 to 4 KB, {} changes", kept.len());
    assert_eq!(kept.first().map(|change| change.revision.0 - 1), Some(floor.0), "complete from the floor on");

    // By a clock on which everything was long ago.
    let world = World::with(Bounds { age_seconds: -1, ..Bounds::default() }).await;
    let before = world.registry.revision();
    world.create("a", "a").await.unwrap();
    assert_eq!(world.registry.changes(None, before).1.len(), 1);
    world.registry.age();
    let (floor, kept) = world.registry.changes(None, Revision(0));
    assert!(kept.is_empty() && floor == world.registry.revision());
    let all = || vec![Selection::all(&kinds::CONFIG_MAP, None)];
    assert!(world.registry.watch(all(), before).is_err() && world.registry.get(&key("a")).is_some());
    let mut watcher = world.registry.watch(all(), world.registry.revision()).unwrap();
    world.create("b", "a").await.unwrap();
    assert_eq!(watcher.next().await.unwrap().len(), 1);
    world.registry.close().await;
    let store = Box::new(world.store.another());
    let again = Registry::open(store, Bounds::default(), Clock::system()).await.unwrap();
    assert!(again.get(&key("a")).is_some() && again.get(&key("b")).is_some());
}

/// Lets a future be polled so many times, each time it asks for it, and then drops it.
async fn polled_and_dropped<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Dropped where it waits, not when it would be woken.
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn at_once(key: &Key) -> Operation {
    let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    Operation::Delete { key: key.clone(), options }
}

/// A client that hangs up at any moment leaves a write undone or done, never half of it. A delete of a pod that no node has marks
/// it and removes it.
#[tokio::test]
async fn a_delete_is_whole_wherever_its_client_hangs_up() {
    let world = World::new(10_000).await;
    let mut answered = 0;
    for polls in 0..10 {
        let pod = world.make_pod(&format!("p{polls}")).await;
        answered += usize::from(polled_and_dropped(polls, world.perform(at_once(&pod))).await.is_some());
        world.registry.writes.idle().await;
        let left = world.registry.get(&pod).map(|pod| pod.value().unwrap());
        assert_eq!(left.is_some(), polls == 0, "{polls} polls: what has begun is ended: {left:?}");
    }
    assert!(answered > 0, "some are awaited to the end");
}

/// A Service holds its address exactly as long as it is there.
#[tokio::test]
async fn an_address_is_held_by_its_service_wherever_the_client_hangs_up() {
    let world = World::new(10_000).await;
    let spec = json!({"clusterIP": "10.0.0.77", "ports": [{"port": 80}]});
    let body = json!({"metadata": {"name": "s"}, "spec": spec});
    let service = Key::new(&kinds::SERVICE, "default", "s");
    for polls in 0..10 {
        polled_and_dropped(polls, world.make(&kinds::SERVICE, body.clone())).await;
        world.registry.writes.idle().await;
        if world.registry.get(&service).is_none() {
            world.make(&kinds::SERVICE, body.clone()).await.expect("an address that nobody has is free");
        }
        let mut other = body.clone();
        other["metadata"]["name"] = "t".into();
        assert_eq!(
            world.make(&kinds::SERVICE, other).await.unwrap_err().code,
            422,
            "and one that is had is not"
        );
        polled_and_dropped(polls, world.perform(at_once(&service))).await;
        world.registry.writes.idle().await;
        if world.registry.get(&service).is_some() {
            world.perform(at_once(&service)).await.unwrap();
        }
    }
}

/// Neither server sees what the other gives out before it is taken.
#[tokio::test]
async fn two_servers_never_give_out_one_address_twice() {
    let one = World::new(10_000).await;
    let slow = Slow(one.store.another(), Arc::new(AtomicUsize::new(usize::MAX)));
    let registry =
        Registry::open(Box::new(slow), Bounds::default(), Clock::system()).await.expect("the same store");
    let two = World { registry, store: one.store.another(), left: one.left.clone() };
    let body = |name: String, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let wanted = json!({"clusterIP": "10.0.0.77", "ports": [{"port": 80}]});
    let any = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]});
    let services = (0..20).flat_map(|n| [("a", &one, n), ("b", &two, n)]).map(|(side, world, n)| {
        let spec = if n < 2 { wanted.clone() } else { any.clone() };
        world.make(&kinds::SERVICE, body(format!("{side}{n}"), spec))
    });
    let made = futures::future::join_all(services).await;
    let refused: Vec<u16> =
        made.iter().filter_map(|made| made.as_ref().err()).map(|status| status.code).collect();
    assert_eq!(refused, [422; 3], "one of those who asked for one address got it");
    let claims: Vec<_> = one
        .registry
        .state
        .all(&kinds::SERVICE, None)
        .iter()
        .flat_map(|entry| entry.summary().claims.to_vec())
        .collect();
    let different: std::collections::HashSet<_> = claims.iter().collect();
    assert_eq!(
        claims.len(),
        1 + 1 + 36 * 3,
        "the Service kubernetes, the one that asked, and 36 with two ports"
    );
    assert_eq!(different.len(), claims.len());

    let node = |name: &str| json!({"metadata": {"name": name}, "spec": {"podCIDR": "10.9.0.0/24"}});
    one.make(&kinds::NODE, node("a")).await.unwrap();
    let taken = two.make(&kinds::NODE, node("b")).await.unwrap_err();
    assert_eq!(
        (taken.code, taken.message.as_str()),
        (
            422,
            "Node \"b\" is invalid: spec.podCIDRs: Invalid value: \"10.9.0.0/24\": provided range is already allocated to node \"a\""
        )
    );
}

/// Wherever the disk fails, and so wherever a process may end: all of a write is there, or nothing.
#[tokio::test]
async fn a_delete_is_one_commit() {
    for commits in 0..3 {
        let world = World::new(10_000).await;
        let pod = world.make_pod("p").await;
        let before = world.registry.revision();
        world.left.store(commits, Ordering::SeqCst);
        let outcome = world.perform(at_once(&pod)).await;
        let (left, changes) = (world.registry.get(&pod), world.registry.changes(Some(&kinds::POD), before).1);
        let verbs: Vec<&str> = changes.iter().map(|change| change.verb.word()).collect();
        match outcome {
            Ok(written) => {
                assert_eq!((written.gone, left.is_none(), verbs), (true, true, vec!["update", "delete"]))
            }
            Err(status) => {
                assert_eq!((status.code, verbs), (500, vec![]));
                assert!(left.unwrap().value().unwrap()["metadata"]["deletionTimestamp"].is_null());
            }
        }
        world.registry.writes.idle().await;
    }
}

/// No single request brings more than the limit, and all together do not either.
#[tokio::test]
async fn an_object_does_not_grow_beyond_what_a_request_may_bring() {
    let world = World::new(10_000).await;
    world.create("c", "x").await.unwrap();
    let labels: Map<String, Value> =
        (0..8000).map(|i| (format!("{:0>63}", i), Value::from("x".repeat(63)))).collect();
    let annotated =
        |name: &str| json!({"metadata": {"annotations": {name: "x".repeat(200_000)}, "labels": labels}});
    world.patch("c", annotated("a")).await.unwrap();
    let kept = world.registry.get(&key("c")).unwrap().json.clone();
    let twice = json!({"binaryData": {"a": "AAAA".repeat(240_000)}, "data": {"b": "\u{1}".repeat(300_000)}});
    let refused = world.patch("c", twice).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (413, "RequestEntityTooLarge"),
        "{}",
        refused.message
    );
    assert_eq!(world.registry.get(&key("c")).unwrap().json, kept, "nothing was changed");
    assert!(world.delete("c").await.unwrap().gone, "what is large can go");
}

/// Only what was read is deleted: another object of the name, or another state of it, is not.
#[tokio::test]
async fn preconditions_hold_to_the_end() {
    let world = World::new(10_000).await;
    let made = world.create("a", "x").await.unwrap().object;
    let changed = world.patch("a", json!({"data": {"k": "v"}})).await.unwrap().object;
    let uid = made.value().unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let delete = |uid: Option<&str>, revision: Option<Revision>| {
        let (uid, revision) = (uid.map(str::to_owned), revision.map(|revision| revision.to_string()));
        let options = DeleteOptions { uid, revision, ..DeleteOptions::default() };
        world.perform(Operation::Delete { key: key("a"), options })
    };
    for (case, outcome) in [
        ("another uid", delete(Some("other"), None).await),
        ("an old revision", delete(Some(&uid), Some(made.revision)).await),
    ] {
        assert_eq!(outcome.unwrap_err().code, 409, "case: {case}");
        assert!(world.registry.get(&key("a")).is_some(), "case: {case}");
    }
    // Somebody writes between the look at the object and the commit: the look is repeated, and now the revision is old.
    let racing = delete(Some(&uid), Some(changed.revision));
    let (outcome, won) = tokio::join!(racing, world.patch("a", json!({"data": {"k": "w"}})));
    assert!(outcome.is_ok() != won.is_ok(), "one of them has won: {outcome:?} {won:?}");
    let there = world.registry.get(&key("a"));
    assert_eq!(there.is_some(), won.is_ok());
}
