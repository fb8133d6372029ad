//! What only the embedded store promises, held against real files. What every store promises is in `suite.rs`.

use std::path::Path;

use coracle_api::Revision;

use super::super::disk::faulty::{Fault, Faulty};
use super::super::disk::sled_base;
use super::super::disk::syncs::{Done, Syncs};
use super::super::frame::frames;
use super::super::log::Log;
use super::super::suite::{self, Listener, World, change};
use super::super::{Committed, Store, Verb};
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
async fn what_is_kept_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (store, _) = start(&path, Bounds::default()).await;
    suite::commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    for folder in [path.clone(), path.join("log")] {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
    }
    store.close().await;
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
    let found = &mut |change: Committed| told.push(change.object.revision.0);
    Log::open(Arc::new(Machine::default()), dir, Revision(9), &Bounds::default(), found)
        .map_err(|e| e.to_string())?;
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
    let mut ends = vec![0];
    ends.extend(frames(&bytes).map(|frame| frame.end));
    let end = ends[3];
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
        assert!(why.contains(&format!("broken at byte {}", ends[1])), "{why}");
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

/// A store on a disk that fails when it is told to, and whom it tells.
async fn on_faulty(bounds: Bounds) -> (Faulty, Embedded, Listener) {
    let (disk, listener) = (Faulty::new(1), Listener::default());
    let store = Embedded::on(Arc::new(disk.clone()), "/data", bounds, Clock::system());
    store.load(Arc::new(listener.clone())).await.unwrap();
    (disk, store, listener)
}

/// Asks for the store's health until it is as wanted.
async fn until_healthy(store: &Embedded, wanted: bool) -> String {
    let asking = async {
        loop {
            let health = store.health();
            if health.is_ok() == wanted {
                return health.err().unwrap_or_default();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asking).await.expect("its health changes")
}

#[tokio::test]
async fn a_full_disk_lets_deletes_through_and_writes_go_on_once_there_is_room() {
    // Files of 64 KB, so that the disk is soon asked for room.
    let (disk, store, listener) = on_faulty(Bounds { disk_bytes: 1 << 20, ..Bounds::default() }).await;
    let large = "x".repeat(200_000);
    let large = suite::commit(&store, change("large", None, Verb::Create, &large)).await.unwrap();
    // In a file of its own: the next change begins another.
    let first = suite::commit(&store, change("n0", None, Verb::Create, "0")).await.unwrap();
    disk.leave_room(0);
    let mut made = vec![("n0".to_string(), first)];
    let refused = loop {
        let name = format!("n{}", made.len());
        match suite::commit(&store, change(&name, None, Verb::Create, &"x".repeat(1500))).await {
            Ok(revision) => made.push((name, revision)),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    let text = until_healthy(&store, false).await;
    assert!(text.starts_with("cannot write: no storage space"), "{text}");
    assert_eq!(listener.world().lives.len(), made.len() + 1, "what is there can be read");

    // Together with a new one, a delete is no way around; alone it is let through, more than once.
    let (first, revision) = made[0].clone();
    let both = vec![change(&first, Some(revision), Verb::Delete, ""), change("new", None, Verb::Create, "")];
    assert!(matches!(store.commit(Batch::Together(both)).await, Err(StoreError::Full { .. })));
    for (name, revision) in &made[..20] {
        suite::commit(&store, change(name, Some(*revision), Verb::Delete, "")).await.unwrap();
    }
    assert_eq!(listener.world().lives.len(), made.len() - 19);
    // What is larger than the reserve can go, too, and a pod that is on its way out has a status to the end.
    suite::commit(&store, change("large", Some(large), Verb::Delete, &"x".repeat(200_000))).await.unwrap();
    let (name, revision) = made[20].clone();
    let mut ends = change(&name, Some(revision), Verb::Update, "ends");
    ends.summary.deleting = true;
    suite::commit(&store, ends).await.unwrap();
    let again = suite::commit(&store, change("new", None, Verb::Create, "")).await;
    assert!(matches!(again, Err(StoreError::Full { .. })), "the reserve is for deletes");

    // A cluster that starts on a full disk can be read, and something deleted.
    let before = listener.world();
    store.close().await;
    let store = Embedded::on(
        Arc::new(disk.clone()),
        "/data",
        Bounds { disk_bytes: 1 << 20, ..Bounds::default() },
        Clock::system(),
    );
    store.load(Arc::new(listener.clone())).await.unwrap();
    assert_eq!(listener.world().lives, before.lives);
    let (name, revision) = made[21].clone();
    suite::commit(&store, change(&name, Some(revision), Verb::Delete, "")).await.unwrap();

    disk.heal();
    until_healthy(&store, true).await;
    suite::commit(&store, change("new", None, Verb::Create, "")).await.unwrap();
    let before = listener.world();
    store.close().await;
    disk.cut();
    let again = Embedded::on(Arc::new(disk.clone()), "/data", Bounds::default(), Clock::system());
    again.load(Arc::new(listener.clone())).await.unwrap();
    assert_eq!(listener.world().lives, before.lives);
}

#[tokio::test]
async fn a_failed_sync_costs_a_file_and_not_the_store() {
    // The changes of these tests are from the first day of 2026, and are to stay where they are.
    let bounds = Bounds { age_seconds: i64::MAX / 4, ..Bounds::default() };
    let (disk, store, listener) = on_faulty(bounds).await;
    suite::commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    // The write goes well, and its sync fails.
    disk.arm(1, Fault::Io);
    suite::commit(&store, change("b", None, Verb::Create, "1")).await.unwrap();
    let files = disk.list(Path::new("/data/log")).unwrap();
    assert_eq!(files.len(), 2, "another file was begun: {files:?}");
    store.close().await;
    disk.cut();
    let again = Embedded::on(Arc::new(disk.clone()), "/data", Bounds::default(), Clock::system());
    again.load(Arc::new(listener.clone())).await.unwrap();
    assert_eq!(listener.world().lives.len(), 2);
}

#[tokio::test]
async fn a_fold_that_fails_is_reported_and_tried_again() {
    let bounds = Bounds { age_seconds: 3600, ..Bounds::default() };
    let (disk, store, listener) = on_faulty(bounds).await;
    suite::commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
    // To seal the file takes three calls; then the fold worker reads it, takes it in, and syncs.
    disk.arm(5, Fault::Io);
    store.age();
    let text = until_healthy(&store, false).await;
    assert!(text.starts_with("cannot fold the log into the base"), "{text}");
    suite::commit(&store, change("b", None, Verb::Create, "1")).await.expect("writes go on");
    until_healthy(&store, true).await;
    store.close().await;
    disk.cut();
    let again = Embedded::on(Arc::new(disk.clone()), "/data", bounds, Clock::system());
    again.load(Arc::new(listener.clone())).await.unwrap();
    assert_eq!((listener.world().lives.len(), listener.world().floor), (2, 10));
}

#[tokio::test]
async fn a_panic_in_any_part_breaks_the_whole_store_and_is_told() {
    for (part, calls) in [("writer", 0), ("fold", 4)] {
        let (disk, store, _) = on_faulty(Bounds { age_seconds: 3600, ..Bounds::default() }).await;
        suite::commit(&store, change("a", None, Verb::Create, "1")).await.unwrap();
        disk.arm(calls, Fault::Panic);
        if part == "fold" {
            store.age();
        } else {
            assert!(suite::commit(&store, change("b", None, Verb::Create, "1")).await.is_err());
        }
        let why = tokio::time::timeout(std::time::Duration::from_secs(10), store.broken()).await.unwrap();
        assert_eq!(why, format!("the store's {part} has panicked: as the test wants it"));
        assert_eq!(store.health(), Err(why));
        let after = suite::commit(&store, change("c", None, Verb::Create, "1")).await;
        assert!(after.is_err(), "half a store writes nothing");
        store.close().await;
    }
}

#[tokio::test]
async fn a_file_of_the_log_goes_only_when_all_of_the_base_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let done = Arc::new(Mutex::new(Vec::<(Done, PathBuf)>::new()));
    let seen = done.clone();
    let observer = Arc::new(move |what: Done, path: &Path| seen.lock().push((what, path.into())));
    let machine = Machine { syncs: Syncs { observer: Some(observer) } };
    let bounds = Bounds { age_seconds: 3600, ..Bounds::default() };
    let store = Embedded::on(Arc::new(machine), &path, bounds, Clock::system());
    store.load(Arc::new(Listener::default())).await.unwrap();
    // So large that sled puts it into a file of its own, which it does not sync.
    suite::commit(&store, change("large", None, Verb::Create, &"x".repeat(700_000))).await.unwrap();
    done.lock().clear();
    store.age();
    let folded = path.join("log/00000000000000000009");
    let gone = async {
        while !done.lock().contains(&(Done::Removed, folded.clone())) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("it is folded");
    let mut done = std::mem::take(&mut *done.lock());
    done.truncate(done.iter().position(|(what, _)| *what == Done::Removed).unwrap());
    let mut synced: Vec<PathBuf> = done.into_iter().map(|(_, path)| path).collect();
    synced.sort();
    let mut wanted = vec![path.join("db"), path.join("blobs")];
    wanted.extend(std::fs::read_dir(path.join("blobs")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(wanted.len() > 2, "there is a blob");
    assert!(wanted.iter().all(|path| synced.contains(path)), "{wanted:?} of {synced:?}");

    // What a crash would leave: all that sled has handed to the system, and nothing that it still holds.
    let copy = dir.path().join("copy");
    std::fs::create_dir_all(copy.join("blobs")).unwrap();
    for file in sled_base::files(&path).unwrap() {
        std::fs::copy(&file, copy.join(file.strip_prefix(&path).unwrap())).unwrap();
    }
    let base = Machine::default().open_base(&copy).unwrap();
    assert_eq!(base.floor(), Revision(10));
    store.close().await;
}
