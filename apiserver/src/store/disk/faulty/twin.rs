//! The base that stands in for sled's: what it holds, and what a crash leaves of it.

use std::collections::BTreeMap;

use coracle_api::Revision;

use crate::store::{Committed, Verb};

/// What a base holds.
#[derive(Clone, Default)]
pub struct World {
    pub(super) marked: bool,
    pub(super) floor: Option<Revision>,
    pub(super) objects: BTreeMap<Vec<u8>, Committed>,
}

/// What happens to a base.
#[derive(Clone)]
pub enum Step {
    Mark,
    TakeIn(Vec<(Vec<u8>, Committed)>, Revision),
}

/// A base as it can be read, and as it is on the disk.
#[derive(Default)]
pub struct Twin {
    /// What can be read but for `unsynced`, and what is on the disk.
    pub(super) seen: World,
    pub(super) kept: World,
    pub(super) unsynced: Vec<Step>,
    /// Something before the end was lost, so nothing that is written after it counts.
    pub(super) hole: bool,
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Mark => self.marked = true,
            Step::TakeIn(latest, floor) => {
                for (key, change) in latest {
                    match change.verb {
                        Verb::Delete => drop(self.objects.remove(key)),
                        _ => drop(self.objects.insert(key.clone(), change.clone())),
                    }
                }
                self.floor = Some(*floor);
            }
        }
    }
}

impl Twin {
    /// What can be read.
    pub(super) fn world(&self) -> World {
        let mut world = self.seen.clone();
        self.unsynced.iter().for_each(|step| world.step(step));
        world
    }
}
