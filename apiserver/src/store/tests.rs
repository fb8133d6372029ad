//! The promises of the store, held against real files.

use std::collections::BTreeMap;

use coracle_api::{Key, kinds};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;
use crate::registry::card::{Card, encode};

fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

fn change(name: &str, expected: Option<Revision>, verb: Verb, text: &str) -> Change {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "data": {"text": text}});
    Change {
        key: key(name),
        expected,
        verb,
        body: encode(&kinds::CONFIG_MAP, &object),
        actor: "test".into(),
        causes: vec![Revision(1)],
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        card: Arc::new(Card::of(&kinds::CONFIG_MAP, &object)),
    }
}

/// What lives, by name, with revision and text: the base with the log played onto it.
fn world(snapshot: &Snapshot) -> BTreeMap<String, (u64, String)> {
    let text = |json: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        value["data"]["text"].as_str().unwrap().to_string()
    };
    let mut world = BTreeMap::new();
    for (key, revision, json) in &snapshot.base {
        world.insert(key.name.clone(), (revision.0, text(json)));
    }
    for change in &snapshot.log {
        match change.verb {
            Verb::Delete => drop(world.remove(&change.key.name)),
            _ => drop(world.insert(change.key.name.clone(), (change.revision.0, text(&change.json)))),
        }
    }
    world
}

fn start(path: &Path, bounds: Bounds) -> (Embedded, Snapshot) {
    let mut opened = Embedded::open(path).unwrap();
    let snapshot = std::mem::take(&mut opened.snapshot);
    let marks = Marks::of(&snapshot);
    let store = opened.start(marks, bounds, Clock::system(), Box::new(|_| {})).unwrap();
    (store, snapshot)
}

#[tokio::test]
async fn whatever_was_written_is_there_after_each_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    // Small enough to be compacted again and again.
    let bounds = Bounds { count: 7, age_seconds: i64::MAX / 4 };
    let mut random = StdRng::seed_from_u64(7);
    let mut expected: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for round in 0..6 {
        let (store, snapshot) = start(&path, bounds);
        assert_eq!(world(&snapshot), expected, "round {round}");
        assert!(snapshot.log.len() <= 14, "the log is bounded: {}", snapshot.log.len());
        for step in 0..25 {
            let name = format!("n{}", random.random_range(0..6));
            let text = format!("{round}-{step}");
            let had = expected.get(&name).map(|(revision, _)| Revision(*revision));
            let verb = match had {
                None => Verb::Create,
                Some(_) if random.random_bool(0.3) => Verb::Delete,
                Some(_) => Verb::Update,
            };
            let revision = store.commit(change(&name, had, verb, &text)).await.unwrap();
            match verb {
                Verb::Delete => drop(expected.remove(&name)),
                _ => drop(expected.insert(name, (revision.0, text))),
            }
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_writer_that_read_an_old_state_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir.path().join("data"), Bounds::default());
    let first = store.commit(change("a", None, Verb::Create, "1")).await.unwrap();
    let again = store.commit(change("a", None, Verb::Create, "2")).await;
    assert!(matches!(again, Err(StoreError::Conflict { found: Some(found), .. }) if found == first));
    let second = store.commit(change("a", Some(first), Verb::Update, "3")).await.unwrap();
    assert_eq!(second, Revision(first.0 + 1), "a refused write takes no revision");
    let stale = store.commit(change("a", Some(first), Verb::Delete, "")).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    store.close().await;
}

#[tokio::test]
async fn publishing_comes_before_answering_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Embedded::open(&dir.path().join("data")).unwrap();
    let marks = Marks::of(&opened.snapshot);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let publish = move |batch: Vec<Committed>| sink.lock().extend(batch.iter().map(|c| c.revision));
    let store = opened.start(marks, Bounds::default(), Clock::system(), Box::new(publish)).unwrap();
    let store = Arc::new(store);
    let writers = (0..50).map(|n| {
        let (store, seen) = (store.clone(), seen.clone());
        tokio::spawn(async move {
            let revision = store.commit(change(&format!("n{n}"), None, Verb::Create, "")).await.unwrap();
            assert!(seen.lock().contains(&revision), "answered before it was published");
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let seen = seen.lock();
    assert_eq!(seen.len(), 50);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
}

#[tokio::test]
async fn a_second_process_a_strange_folder_and_a_broken_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let (store, _) = start(&path, Bounds::default());
    store.commit(change("a", None, Verb::Create, "1")).await.unwrap();
    assert!(matches!(Embedded::open(&path), Err(StoreError::InUse { .. })));
    store.close().await;

    let strange = dir.path().join("photos");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("cat.jpg"), "meow").unwrap();
    assert!(matches!(Embedded::open(&strange), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(&strange).unwrap().count(), 1, "nothing was made there");

    let other = dir.path().join("other");
    let db = sled::open(&other).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(matches!(Embedded::open(&other), Err(StoreError::Foreign { .. })));

    let size = std::fs::metadata(path.join("db")).unwrap().len();
    std::fs::write(path.join("db"), vec![0xA5; usize::try_from(size).unwrap()]).unwrap();
    for entry in std::fs::read_dir(&path).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(matches!(Embedded::open(&path), Err(StoreError::Damaged { .. })), "never an empty cluster");
}
