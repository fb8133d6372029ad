//! Wires the controllers to one client.

use std::sync::Arc;

use coracle_client::{Client, Clock, Gate, Informers, Running};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use crate::{
    Config, deployment, disruption, garbage, namespace, node_lifecycle, podgc, replicaset, serviceaccount,
    taint_eviction,
};

/// Runs all controllers on this client until `stop`. The task ends when all of them have ended.
pub fn start(client: Arc<dyn Client>, config: Config, clock: Clock, stop: CancellationToken) -> Running {
    start_gated(client, config, clock, Gate::open(), stop)
}

/// The same with a gate that can hold plans. Only tests close one so far.
pub fn start_gated(
    client: Arc<dyn Client>,
    config: Config,
    clock: Clock,
    gate: Gate,
    stop: CancellationToken,
) -> Running {
    let informers = Informers::new(client.clone());
    let shared = Shared { client, informers: informers.clone(), clock, gate, config: Arc::new(config) };
    let filled = informers.clone();
    let task = tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn(shared.clone().run(deployment::Deployments::new, stop.clone()));
        tasks.spawn(shared.clone().run(replicaset::ReplicaSets::new, stop.clone()));
        tasks.spawn(shared.clone().run(disruption::Budgets::new, stop.clone()));
        tasks.spawn(shared.clone().run(garbage::Collector::new, stop.clone()));
        tasks.spawn(shared.clone().run(namespace::Namespaces::new, stop.clone()));
        tasks.spawn(shared.clone().run(serviceaccount::NamespaceContents::new, stop.clone()));
        tasks.spawn(shared.clone().run(node_lifecycle::NodeLifecycle::new, stop.clone()));
        tasks.spawn(shared.clone().run(podgc::PodCollector::new, stop.clone()));
        tasks.spawn(shared.clone().run(taint_eviction::TaintEviction::new, stop.clone()));
        tasks.spawn(async move { filled.run(stop).await });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a controller has failed");
            }
        }
    });
    Running { informers, task }
}
