//! How objects are changed, from the request to the commit. `docs/concepts/writes.md` walks along it.
//!
//! ```text
//!  Operation -> perform -> create | update | patch | delete | binding | eviction | scale | token
//!                            decode -> default -> admit -> allocate -> prepare, validate -> admit -> commit
//! ```

mod admit;
pub mod allocate;
mod binding;
pub mod bootstrap;
mod commit;
mod create;
pub mod decode;
mod delete;
mod delete_collection;
mod evict;
pub mod expiry;
mod managed;
pub mod meta;
pub mod operation;
pub mod options;
mod patch;
mod perform;
mod scale;
mod services;
mod token;
pub mod under_way;
mod update;

use crate::entry::stored;
use crate::registry::Registry;
use commit::{Failure, TRIES, nothing_stored, unstored};

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod tests;
