//! Documents as they were written, before any schema says what they mean. All three formats become one form, [`Raw`].
//!
//! ```text
//!  JSON ------.
//!  YAML -------> Raw --shape, by schema (crate::decode)--> Value
//!  protobuf --'
//! ```
//! A reader never does more work than [`Limits`] allow: what would be dear to hold is refused before it is built.

mod budget;
pub mod json;
pub mod protobuf;
mod raw;
pub mod yaml;

pub(crate) use budget::{Budget, DEPTH};
pub use budget::{Fault, Limits};
pub use raw::{Raw, UNTYPED_MAP, number};
