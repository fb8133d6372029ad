//! What only the embedded store promises, held against real files. What every store promises is in `suite.rs`.

use std::path::Path;

use coracle_api::Revision;

use super::super::log::{Log, read};
use super::super::suite::{self, Listener, World, change};
use super::super::{Store, Verb};
use super::*;

async fn read_all(path: &Path, bounds: Bounds) -> Result<(Embedded, Listener), StoreError> {
    let listener = Listener::default();
    let store = Embedded::new(path, bounds, Clock::system());
    store.load(Arc::new(listener.clone())).await?;
    Ok((store, listener))
}

async fn start(path: &Path, bounds: Bounds) -> (Embedded, World) {
    let (store, listener) = read_all(path, bounds).await.unwrap();
    let world = listener.world();
    (store, world)
}

#[tokio::test]
async fn it_keeps_what_every_store_promises() {
    let dir = tempfile::tempdir().unwrap();
    // So small that a file holds a commit or two, and is folded into the base soon after.
    let bounds = Bounds { disk_bytes: 4000, age_seconds: i64::MAX / 4, ..Bounds::default() };
    suite::run(|name| Embedded::new(dir.path().join(name), bounds, Clock::system())).await;
}

#[tokio::test]
async fn a_second_process_a_strange_folder_and_a_broken_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let (store, _) = start(&path, Bounds::default()).await;
    suite::commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    let open = async |path: &Path| -> Result<World, StoreError> {
        let (store, listener) = read_all(path, Bounds::default()).await?;
        store.close().await;
        Ok(listener.world())
    };
    assert!(matches!(open(&path).await, Err(StoreError::InUse { .. })));
    store.close().await;

    let strange = dir.path().join("photos");
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("cat.jpg"), "meow").unwrap();
    assert!(matches!(open(&strange).await, Err(StoreError::Foreign { .. })));
    assert_eq!(std::fs::read_dir(&strange).unwrap().count(), 1, "nothing was made there");

    let other = dir.path().join("other");
    let db = sled::open(&other).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    assert!(matches!(open(&other).await, Err(StoreError::Foreign { .. })));

    // What was written last lies in the log: without it the base alone would be an empty cluster.
    std::fs::rename(path.join("log"), dir.path().join("log")).unwrap();
    assert!(matches!(open(&path).await, Err(StoreError::Damaged { .. })), "no log");
    std::fs::create_dir(path.join("log")).unwrap();
    assert!(matches!(open(&path).await, Err(StoreError::Damaged { .. })), "an empty log");
    std::fs::remove_dir(path.join("log")).unwrap();
    std::fs::rename(dir.path().join("log"), path.join("log")).unwrap();
    assert_eq!(open(&path).await.unwrap().lives.len(), 1);

    let size = std::fs::metadata(path.join("db")).unwrap().len();
    std::fs::write(path.join("db"), vec![0xA5; usize::try_from(size).unwrap()]).unwrap();
    for entry in std::fs::read_dir(&path).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(matches!(open(&path).await, Err(StoreError::Damaged { .. })), "never an empty cluster");
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
    let (store, _) = start(&path, Bounds::default()).await;
    for name in ["a", "b", "c"] {
        suite::commit(&store, change(name, None, Verb::Create, "1")).await.unwrap();
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
        assert!(matches!(read_all(&path, Bounds::default()).await, Err(StoreError::Damaged { .. })));
    }
    // After a cut the log goes on where it was cut.
    std::fs::write(&file, &bytes[..ends[2] + 50]).unwrap();
    let (store, world) = start(&path, Bounds::default()).await;
    assert_eq!(world.lives.len(), 2);
    assert_eq!(suite::commit(&store, change("d", None, Verb::Create, "1")).await.unwrap(), Revision(12));
    store.close().await;
    assert_eq!(start(&path, Bounds::default()).await.1.lives.len(), 3);
}

#[tokio::test]
async fn what_is_old_is_folded_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    // The changes of these tests are from the first day of 2026.
    let bounds = Bounds { age_seconds: 3600, ..Bounds::default() };
    let (store, _) = start(&path, bounds).await;
    for name in ["a", "b"] {
        suite::commit(&store, change(name, None, Verb::Create, "1")).await.unwrap();
    }
    let file = path.join("log/00000000000000000009");
    let bytes = std::fs::read(&file).unwrap();
    store.age();
    store.close().await;
    let (store, world) = start(&path, bounds).await;
    assert_eq!((world.lives.len(), world.floor, world.log), (2, 11, 0));
    assert!(!file.exists());
    store.close().await;
    // A crash after folding, before the file went: it is folded again, which changes nothing.
    std::fs::write(&file, bytes).unwrap();
    let (store, again) = start(&path, bounds).await;
    assert_eq!(again, world);
    suite::commit(&store, change("c", None, Verb::Create, "1")).await.unwrap();
    store.close().await;
    assert!(!file.exists());
    assert_eq!(start(&path, bounds).await.1.lives.len(), 3);
}
