//! Whose turn it is to write the files of a volume. A refresh and the start of a container may come at the same time: they write one
//! after the other, and what was read first is not written over what was read later.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The writers of all volumes: of each pod, by its uid, those of its volumes by name.
#[derive(Debug, Default)]
pub struct Turns(Mutex<BTreeMap<String, BTreeMap<String, Writers>>>);

/// The writers of one volume: the turn of the last one that has written.
#[derive(Clone, Debug, Default)]
pub struct Writers(Arc<Mutex<u64>>);

impl Turns {
    /// The writers of a volume.
    pub fn writers(&self, uid: &str, volume: &str) -> Writers {
        let mut all = self.0.lock();
        all.entry(uid.to_owned()).or_default().entry(volume.to_owned()).or_default().clone()
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

impl Writers {
    /// Writes when nobody else does. It is told whether its turn is the latest so far.
    pub fn take<T, E>(&self, turn: u64, write: impl FnOnce(bool) -> Result<T, E>) -> Result<T, E> {
        let mut latest = self.0.lock();
        let is_latest = turn >= *latest;
        let written = write(is_latest);
        if is_latest && written.is_ok() {
            *latest = turn;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::atomic;
    use super::*;
    use crate::runtime::{File, Files};

    fn write(folder: &Path, writers: &Writers, turn: u64) -> std::io::Result<bool> {
        let now = jiff::Timestamp::from_second(turn.try_into().unwrap()).unwrap();
        let text = |name: &str| {
            (name.to_owned(), File { data: turn.to_string().into_bytes(), mode: 0o644, only_for: None })
        };
        let files: Files = ["a", "b"].map(text).into_iter().collect();
        writers.take(
            turn,
            |is_latest| if is_latest { atomic::write(folder, &files, None, now) } else { Ok(false) },
        )
    }

    #[test]
    fn writers_of_one_volume_do_not_meet_and_what_was_read_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (turns, last) = (Turns::default(), 200);
        std::thread::scope(|threads| {
            for first in 0..4 {
                let (turns, folder) = (&turns, folder.path());
                threads.spawn(move || {
                    for turn in (first..=last).step_by(4) {
                        write(folder, &turns.writers("uid", "v"), turn).unwrap();
                    }
                });
            }
        });
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((read("a"), read("b")), (last.to_string(), last.to_string()));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 4, "two names, the link to the folder of files, and that folder");
        assert!(!write(folder.path(), &turns.writers("uid", "v"), 7).unwrap(), "read earlier");
        assert_eq!(read("a"), last.to_string());
    }

    #[test]
    fn what_failed_was_not_written() {
        let writers = Writers::default();
        assert_eq!(writers.take(5, |_| Err::<(), _>("full")), Err("full"));
        assert_eq!(writers.take(4, Ok::<_, ()>), Ok(true));
    }
}
