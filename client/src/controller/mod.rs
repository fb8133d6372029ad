//! The controller runtime.
//!
//! ```text
//!  change --Wakes--> Queue --key--> observe --> plan --Gate--> carry out --writes--> registry
//!                      ^                                           |
//!                      `------ back-off, or the plan's look_again -'
//! ```
//!
//! A [`Controller`] says what wakes it, takes a snapshot and decides; everything else is here, once for all of them: a key
//! is never looked at twice at once, nor in a state older than its own last write; a plan is held or let through as a
//! whole; a failed run is repeated with a back-off that nothing it has written itself can cut short.

mod apply;
mod contract;
mod ctx;
mod plan;
mod runner;
mod wakes;

pub use contract::Controller;
pub use ctx::Ctx;
pub use plan::{Action, NewEvent, Plan, Refusal};
pub use runner::Runner;
pub use wakes::{Wakes, controller_of};
