//! The promises of the store, held against real files.

use std::collections::BTreeMap;

use coracle_api::{Key, kinds};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::super::log::{Log, read};
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
        card: Card::of(&kinds::CONFIG_MAP, &object),
    }
}

/// What lives, by name, with revision and text; and how many changes the log told of.
#[derive(Clone, Debug, Default, PartialEq)]
struct World {
    lives: BTreeMap<String, (u64, String)>,
    floor: u64,
    log: usize,
}

impl World {
    fn play(&mut self, found: Result<Committed, Revision>) {
        match found {
            Ok(change) => {
                let object = &change.object;
                let text = object.value().unwrap()["data"]["text"].as_str().unwrap().to_string();
                match change.verb {
                    Verb::Delete => drop(self.lives.remove(&object.key.name)),
                    _ => drop(self.lives.insert(object.key.name.clone(), (object.revision.0, text))),
                }
                self.log += 1;
            }
            Err(floor) => (self.floor, self.log) = (floor.0, 0),
        }
    }
}

/// The world, and what was published to it.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<(World, Vec<Revision>)>>);

impl Subscriber for Listener {
    fn revision_of(&self, key: &Key) -> Option<Revision> {
        self.0.lock().0.lives.get(&key.name).map(|(revision, _)| Revision(*revision))
    }

    fn publish(&self, batch: Vec<Committed>) {
        let (world, published) = &mut *self.0.lock();
        published.extend(batch.iter().map(|change| change.object.revision));
        batch.into_iter().for_each(|change| world.play(Ok(change)));
    }
}

fn read_all(path: &Path, bounds: Bounds) -> Result<(Opened, World), StoreError> {
    let mut world = World::default();
    let opened = Embedded::open(path, bounds, Clock::system(), &mut |found| world.play(found))?;
    Ok((opened, world))
}

fn start(path: &Path, bounds: Bounds) -> (Embedded, World, Listener) {
    let (opened, world) = read_all(path, bounds).unwrap();
    let listener = Listener(Arc::new(Mutex::new((world.clone(), Vec::new()))));
    (opened.start(Box::new(listener.clone())).unwrap(), world, listener)
}

#[tokio::test]
async fn whatever_was_written_is_there_after_each_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    // So small that a file holds a commit or two, and is folded into the base soon after.
    let bounds = Bounds { disk_bytes: 4000, age_seconds: i64::MAX / 4, ..Bounds::default() };
    let mut random = StdRng::seed_from_u64(7);
    let mut expected: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for round in 0..6 {
        let (store, world, _) = start(&path, bounds);
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
            let revision = store.commit(change(&name, had, verb, &text)).await.unwrap().revision;
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
    let (store, ..) = start(&dir.path().join("data"), Bounds::default());
    let first = store.commit(change("a", None, Verb::Create, "1")).await.unwrap().revision;
    let again = store.commit(change("a", None, Verb::Create, "2")).await;
    assert!(matches!(again, Err(StoreError::Conflict { found: Some(found), .. }) if found == first));
    let second = store.commit(change("a", Some(first), Verb::Update, "3")).await.unwrap().revision;
    assert_eq!(second, Revision(first.0 + 1), "a refused write takes no revision");
    let stale = store.commit(change("a", Some(first), Verb::Delete, "")).await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    store.close().await;
}

#[tokio::test]
async fn publishing_comes_before_answering_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, listener) = start(&dir.path().join("data"), Bounds::default());
    let store = Arc::new(store);
    let writers = (0..50).map(|n| {
        let (store, listener) = (store.clone(), listener.clone());
        tokio::spawn(async move {
            let object = store.commit(change(&format!("n{n}"), None, Verb::Create, "")).await.unwrap();
            assert!(listener.0.lock().1.contains(&object.revision), "answered before it was published");
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let seen = &listener.0.lock().1;
    assert_eq!(seen.len(), 50);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
}

#[tokio::test]
async fn a_second_process_a_strange_folder_and_a_broken_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let (store, ..) = start(&path, Bounds::default());
    store.commit(change("a", None, Verb::Create, "1")).await.unwrap();
    let open = |path: &Path| read_all(path, Bounds::default()).map(|(_, world)| world);
    assert!(matches!(open(&path), Err(StoreError::InUse { .. })));
    store.close().await;

    let strange = dir.path().join("photos");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("cat.jpg"), "meow").unwrap();
    assert!(matches!(open(&strange), Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(&strange).unwrap().count(), 1, "nothing was made there");

    let other = dir.path().join("other");
    let db = sled::open(&other).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(matches!(open(&other), Err(StoreError::Foreign { .. })));

    // What was written last lies in the log: without it the base alone would be an empty cluster.
    std::fs::rename(path.join("log"), dir.path().join("log")).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Damaged { .. })), "no log");
    std::fs::create_dir(path.join("log")).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Damaged { .. })), "an empty log");
    std::fs::remove_dir(path.join("log")).unwrap();
    std::fs::rename(dir.path().join("log"), path.join("log")).unwrap();
    assert_eq!(open(&path).unwrap().lives.len(), 1);

    let size = std::fs::metadata(path.join("db")).unwrap().len();
    std::fs::write(path.join("db"), vec![0xA5; usize::try_from(size).unwrap()]).unwrap();
    for entry in std::fs::read_dir(&path).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(matches!(open(&path), Err(StoreError::Damaged { .. })), "never an empty cluster");
}

/// The records of a log, as many as were told.
fn changes(dir: &Path) -> Result<Vec<u64>, String> {
    let mut told = Vec::new();
    Log::open(dir, Revision(9), 1 << 20, &mut |change| told.push(change.object.revision.0))?;
    Ok(told)
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_a_broken_middle_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let (store, ..) = start(&path, Bounds::default());
    for name in ["a", "b", "c"] {
        store.commit(change(name, None, Verb::Create, "1")).await.unwrap();
    }
    store.close().await;
    let file = path.join("log/00000000000000000009");
    let bytes = std::fs::read(&file).unwrap();
    let mut ends = Vec::new();
    let end = read(&bytes, &mut |_| Ok(())).unwrap();
    for cut in 0..=end {
        // However far the last write came: cut short, or over the zeros that were there before.
        if read(&bytes[..cut], &mut |_| Ok(())).unwrap() == cut {
            ends.push(cut);
        }
    }
    assert_eq!(ends.len(), 4, "three frames, one for each commit: {ends:?}");
    for cut in (ends[2]..end).step_by(7) {
        for filled in [cut, bytes.len()] {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(filled, 0);
            std::fs::write(&file, &torn).unwrap();
            assert_eq!(changes(&path.join("log")), Ok(vec![10, 11]), "cut at {cut}");
            assert_eq!(changes(&path.join("log")), Ok(vec![10, 11]), "once more");
        }
    }
    for broken in [ends[1], ends[1] + 40, ends[2] - 3] {
        let mut bad = bytes.clone();
        bad[broken] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        let why = changes(&path.join("log")).unwrap_err();
        assert!(why.ends_with(&format!("is broken at byte {}", ends[1])), "{why}");
        assert_eq!(std::fs::read(&file).unwrap(), bad, "nothing was mended");
        assert!(matches!(read_all(&path, Bounds::default()), Err(StoreError::Damaged { .. })));
    }
    // After a cut the log goes on where it was cut.
    std::fs::write(&file, &bytes[..ends[2] + 50]).unwrap();
    let (store, world, _) = start(&path, Bounds::default());
    assert_eq!(world.lives.len(), 2);
    assert_eq!(store.commit(change("d", None, Verb::Create, "1")).await.unwrap().revision, Revision(12));
    store.close().await;
    assert_eq!(read_all(&path, Bounds::default()).unwrap().1.lives.len(), 3);
}

#[tokio::test]
async fn what_is_old_is_folded_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    // The changes of these tests are from the first day of 2026.
    let bounds = Bounds { age_seconds: 3600, ..Bounds::default() };
    let (store, ..) = start(&path, bounds);
    for name in ["a", "b"] {
        store.commit(change(name, None, Verb::Create, "1")).await.unwrap();
    }
    let file = path.join("log/00000000000000000009");
    let bytes = std::fs::read(&file).unwrap();
    store.age();
    store.close().await;
    let (opened, world) = read_all(&path, bounds).unwrap();
    assert_eq!((world.lives.len(), world.floor, world.log), (2, 11, 0));
    assert!(!file.exists());
    drop(opened);
    // A crash after folding, before the file went: it is folded again, which changes nothing.
    std::fs::write(&file, bytes).unwrap();
    let (store, again, _) = start(&path, bounds);
    assert_eq!(again, world);
    store.commit(change("c", None, Verb::Create, "1")).await.unwrap();
    store.close().await;
    assert!(!file.exists());
    assert_eq!(read_all(&path, bounds).unwrap().1.lives.len(), 3);
}
