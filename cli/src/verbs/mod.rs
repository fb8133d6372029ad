//! kubectl-style verbs. They work against any Kubernetes.

pub mod apply;
mod command;
pub mod delete;
pub mod describe;
pub mod get;
pub mod logs;
pub mod manifests;
pub mod rollout;
pub mod scale;
pub mod wait;

pub use command::Verb;
