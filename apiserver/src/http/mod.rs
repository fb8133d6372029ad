//! What the faces have in common: how a request's path, query and `Accept` are read, and how an answer is written. Nothing here knows
//! of objects that are stored, so everything may stand on it.
//!
//! ```text
//!  path   -> Location   accept -> Media
//!  query  -> Query      Reply  -> response
//! ```

pub mod accept;
pub mod bodies;
pub mod connection;
pub mod path;
pub mod query;
pub mod reply;
pub mod upgrade;
