//! `coracle.v1`: the messages and services that components speak, generated from the .proto files beside this crate.

/// Version 1 of the bus.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("coracle.v1");
}
