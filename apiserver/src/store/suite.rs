//! What every store promises. Each implementation hands itself to [`run`].

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Key, Revision, kinds};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;
use crate::entry::Summary;
use crate::entry::claims::Claim;
use crate::entry::encoding::encode;

pub fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

pub fn change(name: &str, expected: impl Into<Expected>, verb: Verb, text: &str) -> Proposed {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "data": {"text": text}});
    Proposed {
        key: key(name),
        expected: expected.into(),
        verb,
        body: encode(&kinds::CONFIG_MAP, &object),
        actor: "test".into(),
        causes: vec![Revision(1)],
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        summary: Summary::of(&kinds::CONFIG_MAP, &object),
    }
}

/// Makes one change.
pub async fn commit(store: &dyn Store, change: Proposed) -> Result<Revision, StoreError> {
    let outcomes = store.commit(Batch::Together(vec![change])).await?;
    Ok(outcomes.into_iter().next().unwrap().unwrap().revision)
}

/// What lives, by name, with revision and text; and how many changes the log told of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub lives: BTreeMap<String, (u64, String)>,
    pub floor: u64,
    pub log: usize,
}

impl World {
    pub fn play(&mut self, change: &Committed) {
        let object = &change.object;
        let value = object.value().unwrap();
        assert_eq!(value["metadata"]["name"], object.key.name);
        if change.verb == Verb::Delete {
            self.lives.remove(&object.key.name);
        } else {
            let text = value["data"]["text"].as_str().unwrap().to_string();
            self.lives.insert(object.key.name.clone(), (object.revision.0, text));
        }
        self.log += 1;
    }
}

/// The world, and the revisions that were published to it.
#[derive(Clone, Default)]
pub struct Listener(Arc<Mutex<(World, Vec<Revision>)>>);

impl Listener {
    pub fn world(&self) -> World {
        self.0.lock().0.clone()
    }
}

impl Listener {
    /// The revisions that were told of since it was loaded.
    pub fn published(&self) -> Vec<Revision> {
        self.0.lock().1.clone()
    }
}

impl Follower for Listener {
    fn load(&self, loaded: Loaded) {
        let mut world = World::default();
        loaded.base.iter().for_each(|change| world.play(change));
        (world.floor, world.log) = (loaded.floor.0, 0);
        loaded.log.iter().for_each(|change| world.play(change));
        *self.0.lock() = (world, Vec::new());
    }

    fn publish(&self, changes: Vec<Committed>) {
        let (world, published) = &mut *self.0.lock();
        published.extend(changes.iter().map(|change| change.object.revision));
        changes.iter().for_each(|change| world.play(change));
    }
}

/// Holds an implementation to the promises. `make` opens, without loading it, the store of a name: what was committed to it
/// before is in it.
pub async fn run<S: Store + 'static>(make: impl Fn(&str) -> S) {
    whatever_was_written_is_there_after_each_restart(&make).await;
    a_writer_that_read_an_old_state_is_refused(&make).await;
    a_batch_is_made_together_or_each_for_itself(&make).await;
    what_one_object_holds_no_other_gets(&make).await;
    changes_are_told_in_order_and_once(&make).await;
    without_being_loaded_or_once_closed_it_takes_nothing(&make).await;
}

async fn loaded<S: Store>(store: S) -> (S, Listener) {
    let listener = Listener::default();
    store.load(Arc::new(listener.clone())).await.unwrap();
    (store, listener)
}

async fn whatever_was_written_is_there_after_each_restart<S: Store>(make: impl Fn(&str) -> S) {
    let mut random = StdRng::seed_from_u64(7);
    let mut expected: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for round in 0..6 {
        let (store, listener) = loaded(make("restarts")).await;
        let world = listener.world();
        assert_eq!(world.lives, expected, "round {round}");
        assert!(world.log <= 20, "the log is bounded: {}", world.log);
        assert!(round == 0 || world.floor > 9, "the base has grown");
        for step in 0..25 {
            let name = format!("n{}", random.random_range(0..6));
            let text = format!("{round}-{step}");
            let had = expected.get(&name).map(|(revision, _)| Revision(*revision));
            let verb = match had {
                None => Verb::Create,
                Some(_) if random.random_bool(0.3) => Verb::Delete,
                Some(_) => Verb::Update,
            };
            let revision = commit(&store, change(&name, had, verb, &text)).await.unwrap();
            match verb {
                Verb::Delete => drop(expected.remove(&name)),
                _ => drop(expected.insert(name, (revision.0, text))),
            }
        }
        assert_eq!(listener.world().lives, expected, "what was told in round {round}");
        store.close().await;
    }
}

async fn a_writer_that_read_an_old_state_is_refused<S: Store>(make: impl Fn(&str) -> S) {
    let (store, _) = loaded(make("stale")).await;
    let first = commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    let again = commit(&store, change("a", None, Verb::Create, "2")).await;
    assert!(
        matches!(again, Err(StoreError::Conflict(Conflict::Changed { found: Some(found), .. })) if found == first)
    );
    let second = commit(&store, change("a", Some(first), Verb::Update, "3")).await.unwrap();
    assert_eq!(second, Revision(first.0 + 1), "a refused write takes no revision");
    let stale = commit(&store, change("a", Some(first), Verb::Delete, "")).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    store.close().await;
}

async fn a_batch_is_made_together_or_each_for_itself<S: Store>(make: impl Fn(&str) -> S) {
    let (store, listener) = loaded(make("batches")).await;
    let there = commit(&store, change("there", None, Verb::Create, "1")).await.unwrap();
    let two = |second| {
        vec![
            change("new", None, Verb::Create, "1"),
            change("new", Expected::Earlier, Verb::Update, "2"),
            change("there", second, Verb::Update, "2"),
        ]
    };
    let refused = store.commit(Batch::Together(two(Expected::At(Revision(1))))).await.unwrap_err();
    let StoreError::Conflict(Conflict::Changed { key: of, found, .. }) = refused else { panic!("{refused}") };
    assert_eq!((of, found), (key("there"), Some(there)));
    assert_eq!(listener.world().lives.len(), 1, "none of them was made");

    let outcomes = store.commit(Batch::Each(two(Expected::At(Revision(1))))).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(listener.world().lives["new"].1, "2");

    // A condition on what an earlier change leaves: marked and removed at once.
    let lives = Revision(listener.world().lives["new"].0);
    let marked = vec![
        change("new", Some(lives), Verb::Update, "going"),
        change("new", Expected::Earlier, Verb::Delete, "going"),
        change("there", Some(there), Verb::Update, "2"),
    ];
    let outcomes = store.commit(Batch::Together(marked)).await.unwrap();
    let revisions: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().revision.0).collect();
    assert_eq!(revisions, [lives.0 + 1, lives.0 + 2, lives.0 + 3]);
    let unfounded = commit(&store, change("there", Expected::Earlier, Verb::Update, "3")).await;
    assert!(matches!(unfounded, Err(StoreError::Conflict { .. })), "no earlier change in its batch");
    store.close().await;
    let (store, again) = loaded(make("batches")).await;
    assert_eq!(again.world().lives, listener.world().lives);
    store.close().await;
}

/// A Service of some address, in place of whatever stands there.
fn service(name: &str, expected: impl Into<Expected>, verb: Verb, address: &str) -> Proposed {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"clusterIPs": [address]},
        "data": {"text": address}});
    Proposed {
        key: Key::new(&kinds::SERVICE, "default", name),
        body: encode(&kinds::SERVICE, &object),
        summary: Summary::of(&kinds::SERVICE, &object),
        ..change(name, expected, verb, "")
    }
}

async fn what_one_object_holds_no_other_gets<S: Store>(make: impl Fn(&str) -> S) {
    let (store, _) = loaded(make("claims")).await;
    let first = commit(&store, service("a", None, Verb::Create, "10.0.0.1")).await.unwrap();
    let (key_a, claim) = (service("a", None, Verb::Create, "").key, Claim::Address([10, 0, 0, 1].into()));
    let refused = |outcome: Result<Revision, StoreError>| {
        let Err(StoreError::Conflict(Conflict::Held { claim: of, holder, .. })) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((of, &holder), (claim.clone(), &key_a));
    };
    refused(commit(&store, service("b", None, Verb::Create, "10.0.0.1")).await);
    store.close().await;
    let (store, _) = loaded(make("claims")).await;
    refused(commit(&store, service("b", None, Verb::Create, "10.0.0.1")).await);

    // What one lets go of another may have at once, unless the batch comes to nothing.
    let hand_over = |then: Proposed| {
        let let_go = service("a", Some(first), Verb::Update, "10.0.0.2");
        vec![let_go, service("b", None, Verb::Create, "10.0.0.1"), then]
    };
    let impossible = service("a", Some(first), Verb::Update, "10.0.0.3");
    assert!(store.commit(Batch::Together(hand_over(impossible))).await.is_err());
    refused(commit(&store, service("b", None, Verb::Create, "10.0.0.1")).await);
    let outcomes =
        store.commit(Batch::Each(hand_over(service("c", None, Verb::Create, "10.0.0.2")))).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    let second = outcomes[0].as_ref().unwrap().revision;
    commit(&store, service("a", Some(second), Verb::Delete, "10.0.0.2")).await.unwrap();
    commit(&store, service("c", None, Verb::Create, "10.0.0.2")).await.unwrap();
    store.close().await;
}

async fn changes_are_told_in_order_and_once<S: Store + 'static>(make: impl Fn(&str) -> S) {
    let (store, listener) = loaded(make("told")).await;
    let store = Arc::new(store);
    let writers = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            commit(&*store, change(&format!("n{n}"), None, Verb::Create, "")).await.unwrap()
        })
    });
    let mut answered = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        answered.push(writer.await.unwrap());
    }
    answered.sort();
    let told = async {
        while listener.0.lock().1.len() < answered.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), told).await.expect("all is told");
    assert_eq!(listener.0.lock().1, answered);
    store.close().await;
}

async fn without_being_loaded_or_once_closed_it_takes_nothing<S: Store>(make: impl Fn(&str) -> S) {
    let store = make("closed");
    assert!(commit(&store, change("a", None, Verb::Create, "1")).await.is_err());
    let (store, _) = loaded(store).await;
    commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    store.close().await;
    assert!(commit(&store, change("b", None, Verb::Create, "1")).await.is_err());
}
