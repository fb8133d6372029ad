//! How commands speak with an API server: the connection, requests, the kinds that it serves, watches.

pub mod connection;
pub mod follow;
pub mod kinds;
pub mod rest;
pub mod selector;
