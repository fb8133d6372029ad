//! Folds the oldest files of the log into the base, off the path of writers.
//!
//! ```text
//!  full files of the log --oldest first, once past the bounds--> batches into the base, synced --> the file goes
//! ```

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use coracle_client::clock::Clock;

use super::base::Base;
use super::disk::{Barrier, Disk};
use super::health::Health;
use super::log::Sealed;
use super::{Bounds, frame, opening, record};

/// How much is folded at a time, but for the rest of a frame: sled takes many times the size of a batch in memory, and keeps
/// it.
const BATCH_BYTES: usize = 512 << 10;
/// How long the base stays open while there is nothing to fold.
const IDLE: Duration = Duration::from_secs(2);
/// How long to wait after a failure, at first and at most.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The state of the thread that folds.
pub struct FoldWorker {
    /// Where everything is.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub path: PathBuf,
    /// Where files of the log go. None while there is nothing to fold, and after a failure: what that has left is not known, so
    /// the base is opened again.
    pub base: Option<Box<dyn Base>>,
    /// How much of the log stays.
    pub bounds: Bounds,
    /// Tells how old it is.
    pub clock: Clock,
    /// The full files, oldest first.
    pub sealed: VecDeque<Sealed>,
    /// Where failures are reported.
    pub health: Arc<Health>,
}

impl FoldWorker {
    /// Works until nobody can send full files any more. `None` means: look at the clock.
    pub fn run(mut self, full: &Receiver<Option<Sealed>>) {
        let mut wait = WAIT;
        loop {
            let failed = self.fold_due().is_err();
            let until = Instant::now() + if failed { wait } else { IDLE };
            wait = if failed { (wait * 2).min(LONGEST_WAIT) } else { WAIT };
            loop {
                let patience = until.saturating_duration_since(Instant::now());
                let next = match self.base {
                    None if !failed => full.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    _ => full.recv_timeout(patience),
                };
                match next {
                    Ok(more) => self.sealed.extend(more),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) if failed => break,
                    // Open, sled holds some twenty megabytes of memory, and more with each page that it has touched.
                    Err(RecvTimeoutError::Timeout) => self.base = None,
                }
                // After a failure, new files do not cut the wait short.
                if !failed && self.is_due() {
                    break;
                }
            }
        }
    }

    /// Folds what is past the bounds.
    ///
    /// # Errors
    /// What went wrong, which is also told to whoever looks after health.
    pub fn fold_due(&mut self) -> Result<(), String> {
        let folded = self.try_fold_due();
        if folded.is_err() {
            self.base = None;
        }
        self.health
            .set_fold(folded.clone().err().map(|why| format!("cannot fold the log into the base: {why}")));
        folded
    }

    fn try_fold_due(&mut self) -> Result<(), String> {
        while self.is_due()
            && let Some(oldest) = self.sealed.front()
        {
            let base = match &mut self.base {
                Some(base) => base,
                none => none.insert(opening::open_base(&*self.disk, &self.path).map_err(|e| e.to_string())?),
            };
            fold(&*self.disk, &mut **base, oldest)?;
            self.sealed.pop_front();
        }
        Ok(())
    }

    /// Whether the oldest file is past the bounds.
    fn is_due(&self) -> bool {
        let oldest_kept = self.clock.now().as_second().saturating_sub(self.bounds.age_seconds);
        let bytes: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        self.sealed
            .front()
            .is_some_and(|oldest| bytes > self.bounds.disk_bytes || oldest.newest.as_second() < oldest_kept)
    }
}

/// Takes a file of the log into the base, then removes it. A crash in between only means going on from the floor.
fn fold(disk: &dyn Disk, base: &mut dyn Base, sealed: &Sealed) -> Result<(), String> {
    let named = |e: std::io::Error| format!("{}: {e}", sealed.path.display());
    let bytes = disk.read(&sealed.path).map_err(named)?;
    let (mut latest, mut size, mut last) = (HashMap::new(), 0, base.floor());
    for frame in frame::frames(&bytes) {
        let mut changes = Vec::new();
        frame.read(&mut |change| {
            changes.push(change);
            Ok(())
        })?;
        // Frames after `sealed.last` belong to a write that failed: they do not count.
        if changes.last().is_none_or(|change| change.object.revision > sealed.last) {
            break;
        }
        for change in changes.into_iter().filter(|change| change.object.revision > base.floor()) {
            last = change.object.revision;
            size += change.object.json.len();
            latest.insert(record::base_key(&change.object.key), change);
        }
        // Only at the end of a frame: the log goes on from there.
        if size >= BATCH_BYTES {
            base.take_in(std::mem::take(&mut latest), last)?;
            size = 0;
        }
    }
    if last < sealed.last {
        return Err(format!("{} ends at {last}, not at {}", sealed.path.display(), sealed.last));
    }
    if !latest.is_empty() {
        base.take_in(latest, last)?;
    }
    base.sync(Barrier::Folded).map_err(|error| error.to_string())?;
    // Not synced: a file that comes back is folded again, which changes nothing.
    disk.remove(&sealed.path).map_err(named)
}
