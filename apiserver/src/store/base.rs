//! The base: the world as it was at some revision, off the path of writers.

use std::collections::HashMap;
use std::io;

use coracle_api::Revision;

use super::Committed;
use super::disk::Barrier;

/// The world at a revision. What is taken in is durable once it is synced, and a crash before that leaves what was taken
/// in up to some point, never half a step.
///
/// After any error it must not be used any more: what a failed sync has left behind is not known. It is opened again.
pub trait Base: Send {
    /// Whether there was none before it was opened.
    fn is_new(&self) -> bool;

    /// The revision that it shows.
    fn floor(&self) -> Revision;

    /// Shows every object, each as the change that led to it.
    fn read(&self, found: &mut dyn FnMut(Committed)) -> Result<(), String>;

    /// Moves the floor up to a revision, with the last change of each object that changed on the way: all or nothing.
    fn take_in(&mut self, latest: HashMap<Vec<u8>, Committed>, floor: Revision) -> Result<(), String>;

    /// Makes everything that was taken in durable.
    fn sync(&mut self, why: Barrier) -> io::Result<()>;
}
