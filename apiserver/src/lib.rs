//! The store, the registry and the API server.
//!
//! ```text
//!  kubectl --HTTPS--> rest ----+
//!  agents  --gRPC---> grpc ----+--> registry --Change--> store --> disk
//!  controllers -----> local ---+        |
//!       ^------------- watch -----------+
//! ```
//!
//! Watched: nothing. Written: whatever is asked for, once it has been decoded, defaulted, admitted and validated.

pub mod admission;
pub mod identity;
pub mod registry;
pub mod rest;
pub mod server;
pub mod store;

mod tls;

pub use identity::Identity;
pub use registry::Registry;
pub use server::{Config, Server, StartError};
