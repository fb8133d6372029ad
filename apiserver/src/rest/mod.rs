//! The face for people and their tools: HTTPS, as Kubernetes speaks it.
//!
//! ```text
//!  request -> path, query -> who -> may -> read | watch | write -> Reply -> response
//! ```

pub mod app;
pub mod handle;
pub mod metrics;

mod changes;
mod difference;
mod health;
mod items;
pub(crate) mod options;
mod read;
mod shape;
mod socket;
mod watch;
mod write;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verbs_tests;
