//! The other API servers on the same store: who they are, and what only one of them has.
//!
//! ```text
//!  announce: a Lease in kube-system says where this server is      ask: another server, for a line or a verdict
//!                                                              service: answers what others ask
//! ```
//!
//! Objects are the same everywhere. A node's line ends at the one server that its agent has dialled, and the scheduler leaves its
//! verdicts with one; which one is found by asking all, of which there are few.

pub mod announce;
pub mod ask;
pub mod service;

#[cfg(test)]
mod tests;

/// As whom servers write, and ask each other.
pub const SERVER_USER: &str = "system:apiserver";
