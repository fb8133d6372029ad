//! The base on the disk in memory, once it is open.

use std::collections::HashMap;
use std::io;

use coracle_api::Revision;
use parking_lot::MutexGuard;
use rand::Rng;

use super::super::Barrier;
use super::state::{Faulty, State, missing};
use super::twin::Step;
use crate::store::base::Base;
use crate::store::{BEFORE_ALL, Committed};

/// An open base.
pub struct Opened {
    pub(super) disk: Faulty,
    pub(super) id: u64,
    pub(super) is_new: bool,
}

impl Opened {
    fn state(&self) -> MutexGuard<'_, State> {
        self.disk.0.lock()
    }
}

impl Base for Opened {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn floor(&self) -> Revision {
        self.state().bases[&self.id].world().floor.unwrap_or(BEFORE_ALL)
    }

    fn read(&self, found: &mut dyn FnMut(Committed)) -> Result<(), String> {
        self.state().bases[&self.id].world().objects.into_values().for_each(found);
        Ok(())
    }

    fn take_in(&mut self, latest: HashMap<Vec<u8>, Committed>, floor: Revision) -> Result<(), String> {
        let state = &mut *self.state();
        state.call().map_err(|e| e.to_string())?;
        if state.room == Some(0) {
            return Err("no room".into());
        }
        let Some(twin) = state.bases.get_mut(&self.id) else { return Err("no base".into()) };
        twin.unsynced.push(Step::TakeIn(latest.into_iter().collect(), floor));
        Ok(())
    }

    fn sync(&mut self, why: Barrier) -> io::Result<()> {
        let state = &mut *self.state();
        let failed = state.call();
        if !state.is_asked(why) {
            return Ok(());
        }
        let twin = state.bases.get_mut(&self.id).ok_or_else(missing)?;
        let unsynced = std::mem::take(&mut twin.unsynced);
        let brought =
            if failed.is_ok() { unsynced.len() } else { state.random.random_range(0..=unsynced.len()) };
        for (index, step) in unsynced.iter().enumerate() {
            twin.seen.step(step);
            if index < brought && !twin.hole {
                twin.kept.step(step);
            }
        }
        twin.hole |= brought < unsynced.len();
        failed
    }
}
