//! Verbs that only Coracle has: it tells why.

pub mod changes;
pub mod history;
pub mod trace;
pub mod why;
