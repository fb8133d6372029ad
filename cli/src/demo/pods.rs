//! What the tour asks of its cluster: whether nodes and pods are as it wants them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use crate::cluster::Cluster;

/// A client of the tour's cluster.
pub(super) async fn connect(cluster: &Cluster) -> Result<kube::Client> {
    let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Whether a pod's condition `Ready` is true.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a node's condition `Ready` is true.
pub(super) fn node_is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Waits until the pods with these labels are as `wanted` says, by looking again at each change of theirs.
pub(super) async fn wait_pods(
    pods: &Api<Pod>,
    labels: &str,
    within: Duration,
    what: &str,
    wanted: impl Fn(&[Pod]) -> bool,
) -> Result<Vec<Pod>> {
    use futures::TryStreamExt;
    let deadline = tokio::time::Instant::now() + within;
    let mut last = String::new();
    loop {
        let list = pods.list(&kube::api::ListParams::default().labels(labels)).await?;
        if wanted(&list.items) {
            return Ok(list.items);
        }
        last.clear();
        for pod in &list.items {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("-");
            last += &format!(" {} ({phase}, ready: {})", kube::ResourceExt::name_any(pod), is_ready(pod));
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = kube::api::WatchParams::default().labels(labels).timeout(30);
        let next = async {
            let stream = pods.watch(&params, &version).await?;
            std::pin::pin!(stream).try_next().await
        };
        match tokio::time::timeout_at(deadline, next).await {
            Ok(event) => event.context("while following the pods")?,
            Err(_) => bail!("{what}: not after {} s; now there are{last}", within.as_secs()),
        };
    }
}
