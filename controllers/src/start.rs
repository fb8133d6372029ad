//! Wires the controllers to one client.

use std::sync::Arc;

use coracle_client::{Client, Clock, Gate, Informers};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::{
    Timing, deployment, disruption, garbage, namespace, node_lifecycle, podgc, replicaset, serviceaccount,
};

/// What the controllers have to be told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How patient they are.
    pub timing: Timing,
    /// The certificate authority that pods are to trust, as PEM; published in every namespace.
    pub ca_pem: String,
}

/// Runs all controllers on this client until `stop`. The handle ends when all of them have ended.
pub fn start(
    client: Arc<dyn Client>,
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> JoinHandle<()> {
    start_gated(client, config, clock, Gate::open(), stop)
}

/// The same with a gate that can hold plans, for step mode and dry runs.
pub fn start_gated(
    client: Arc<dyn Client>,
    config: Config,
    clock: Clock,
    gate: Gate,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let informers = Informers::new(client.clone());
    let shared = Shared { client, informers: informers.clone(), clock, gate, config: Arc::new(config) };
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn(deployment::run(shared.clone(), stop.clone()));
        tasks.spawn(replicaset::run(shared.clone(), stop.clone()));
        tasks.spawn(disruption::run(shared.clone(), stop.clone()));
        tasks.spawn(garbage::run(shared.clone(), stop.clone()));
        tasks.spawn(namespace::run(shared.clone(), stop.clone()));
        tasks.spawn(serviceaccount::run(shared.clone(), stop.clone()));
        tasks.spawn(node_lifecycle::run(shared.clone(), stop.clone()));
        tasks.spawn(podgc::run(shared.clone(), stop.clone()));
        tasks.spawn(async move { informers.run(stop).await });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a controller has failed");
            }
        }
    })
}
