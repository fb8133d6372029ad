//! The chain that every write passes between its defaults and its commit. `docs/concepts/writes.md` walks along it.
//!
//! ```text
//!  decode -> default -> mutating links -> default again -> allocate -> validate -> validating links -> commit
//! ```
//!
//! A link is a file here and a line in `chain.rs`. Creates, updates, patches, applies, deletes (of a collection, too), bindings,
//! evictions, scales, status updates, tokens and connections all pass both lists; a link looks at its `Attributes` to see whether it
//! is concerned.

pub mod attributes;
pub mod chain;
mod default_toleration_seconds;
pub mod link;
mod mountable_secrets;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod runtime_class;
mod service_account;
pub mod unserved;
