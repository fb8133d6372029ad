//! What the faces have in common: how a request's path, query and `Accept` are read, and how an answer is written. Nothing here knows
//! of objects that are stored, so everything may stand on it.
//!
//! ```text
//!  path   -> Location   negotiation -> Media (from `Accept`)
//!  query  -> Query      Reply       -> response
//! ```

pub mod bodies;
pub mod connection;
pub mod negotiation;
pub mod path;
pub mod query;
pub mod reply;
pub mod upgrade;
