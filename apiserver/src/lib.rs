//! The store, the registry and the API server.
//!
//! ```text
//!  kubectl --HTTPS--> rest ----+
//!  agents  --gRPC---> grpc ----+--> registry --Proposed-> store --> disk
//!  controllers -----> local ---+        |
//!       ^------------- watch -----------+
//! ```
//!
//! Watched: nothing. Written: whatever is asked for, once it has been decoded, defaulted, admitted and validated.

pub mod admission;
pub mod auth;
pub mod connections;
pub mod discovery;
pub mod entry;
pub mod faces;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod http;
pub mod identity;
pub mod large;
pub mod lines;
mod listener;
pub mod local;
mod lookup;
pub mod peers;
pub mod pki;
pub mod registry;
pub mod rest;
pub mod server;
pub mod state;
pub mod store;
pub mod verdicts;
pub mod write;
mod write_timeout;

pub use identity::Identity;
pub use local::LocalClient;
pub use registry::Registry;
pub use server::{Config, EVENT_TTL, Server, StartError};
