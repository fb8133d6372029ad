//! Who asks, and whether they may.
//!
//! ```text
//!  client certificate --+
//!  bearer token --------+--> Identity --impersonate--> Identity --+
//!  nothing -------------+      (bad or unreadable: 401)           |
//!                                                                 v
//!  path, method, query --> Location --> Attributes --------> Authorizer::may --> 403, or go on
//! ```
//!
//! [`Authorizer::may`](authorize::Authorizer::may) stands before every face: REST with its subresources and streams, the bus within
//! the process and over gRPC, the lines of nodes, and Coracle's own paths. What it decides about is always an
//! [`Attributes`](attributes::Attributes).

pub mod attributes;
pub mod authenticate;
pub mod authorize;
pub mod lookup;

pub mod impersonate;
mod node;
pub mod references;

#[cfg(test)]
mod tests;
