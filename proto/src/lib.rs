//! `coracle.v1`: the messages and services that components speak, and the part of etcd's that the store speaks, generated from
//! the .proto files beside this crate.

/// Version 1 of the bus.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("coracle.v1");
}

/// The part of etcd's API that the store speaks.
#[allow(missing_docs, clippy::all)]
pub mod etcd {
    tonic::include_proto!("etcdserverpb");
}
