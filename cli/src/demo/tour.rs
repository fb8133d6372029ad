//! The steps of the tour, in the order in which they are told.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::meter::Meter;
use super::pods::{connect, is_ready, node_is_ready, wait_pods};
use crate::cluster::{Cluster, Selection};
use crate::cluster_flags::ClusterFlags;
use crate::control::{Order, ask};
use crate::report::Report;
use crate::{assembly, up};

const MANIFEST: &str = include_str!("../../../examples/deployment.yaml");
const LABELS: &str = "app=web";
const PORT: u16 = 3000;

/// Takes the tour.
///
/// # Errors
/// A step does not come to its end.
pub async fn take(cluster: &Cluster, selection: &Selection, report: Report) -> Result<()> {
    let client = start(cluster, selection, report).await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    deploy(&client, &pods, report).await?;
    update(&client, &pods, report).await?;
    lose_a_container(cluster, &pods, report).await?;
    lose_a_node(cluster, &client, &pods, report).await?;
    too_large(cluster, &pods, report).await?;
    trace(cluster, report).await
}

async fn start(cluster: &Cluster, selection: &Selection, report: Report) -> Result<Client> {
    report.title("1. A cluster of three nodes, on this machine's Docker");
    let up = up::Up { flags: ClusterFlags::default(), foreground: false, no_context: true };
    up.run(selection).await?;
    connect(cluster).await
}

async fn deploy(client: &Client, pods: &Api<Pod>, report: Report) -> Result<()> {
    report.title("2. Deploy: three replicas of a small web server (examples/deployment.yaml)");
    let before = Instant::now();
    let deployment: Deployment = serde_saphyr::from_str(MANIFEST).context("examples/deployment.yaml")?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &deployment).await?;
    let ready = |pods: &[Pod]| pods.iter().filter(|pod| is_ready(pod)).count() == 3;
    let running = wait_pods(pods, LABELS, Duration::from_secs(60), "three ready pods", ready).await?;
    report.timed("three pods are Ready", before.elapsed());
    show(&running, report);
    Ok(())
}

fn show(pods: &[Pod], report: Report) {
    for pod in pods {
        let status = pod.status.clone().unwrap_or_default();
        let restarts: i32 = status.container_statuses.iter().flatten().map(|c| c.restart_count).sum();
        report.text(format!(
            "{:<24} {:<8} {:<10} {:<16} restarts {restarts}",
            pod.name_any(),
            status.phase.unwrap_or_default(),
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("-"),
            status.pod_ip.unwrap_or_default(),
        ));
    }
}

async fn update(client: &Client, pods: &Api<Pod>, report: Report) -> Result<()> {
    report.title("3. Roll to version 2 while a meter asks without pause");
    let before = Instant::now();
    let meter = Meter::start(pods.clone(), LABELS, PORT, "/version").await?;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "coracle.dev/demo:v2"}]}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await?;
    let rolled = |pods: &[Pod]| {
        pods.len() == 3
            && pods.iter().all(|pod| {
                let new = pod.spec.iter().flat_map(|s| &s.containers);
                is_ready(pod) && new.into_iter().all(|c| c.image.as_deref() == Some("coracle.dev/demo:v2"))
            })
    };
    wait_pods(pods, LABELS, Duration::from_secs(90), "three ready pods of version 2", rolled).await?;
    let outcome = meter.finish().await;
    report.timed("three pods of version 2 are Ready, those of version 1 are gone", before.elapsed());
    let versions: Vec<String> = outcome.versions.iter().map(|(v, count)| format!("{count} by {v}")).collect();
    report.done(format!("{} requests ({}), {} failed", outcome.sent, versions.join(", "), outcome.failed));
    if let Some(failure) = outcome.last_failure {
        bail!(
            "{} of {} requests failed during the update; the last: {failure}",
            outcome.failed,
            outcome.sent
        );
    }
    Ok(())
}

async fn lose_a_container(cluster: &Cluster, pods: &Api<Pod>, report: Report) -> Result<()> {
    report.title("4. docker kill: a container dies");
    let list = pods.list(&kube::api::ListParams::default().labels(LABELS)).await?;
    let victim = list.items.first().context("no pod is there")?;
    let (name, uid) = (victim.name_any(), victim.uid().unwrap_or_default());
    let before = Instant::now();
    assembly::kill_container(&cluster.name, &uid, "web").await?;
    let again = |pods: &[Pod]| {
        pods.iter().any(|pod| {
            let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            pod.name_any() == name && is_ready(pod) && statuses.into_iter().any(|c| c.restart_count == 1)
        })
    };
    wait_pods(pods, LABELS, Duration::from_secs(30), "the container's restart", again).await?;
    report.timed(format!("{name} is Ready again, restarted once"), before.elapsed());
    Ok(())
}

async fn lose_a_node(cluster: &Cluster, client: &Client, pods: &Api<Pod>, report: Report) -> Result<()> {
    report.title("5. Power cut: a node vanishes with all its containers");
    let list = pods.list(&kube::api::ListParams::default().labels(LABELS)).await?;
    let node = list.items.first().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
    let node = node.context("no pod is bound")?;
    let before = Instant::now();
    ask(cluster, Order::NodeKill { name: node.clone() }).await?;
    report.done(format!(
        "{node} is dead; its lease runs out, its pods get an unreachable taint and are evicted"
    ));
    let elsewhere = |pods: &[Pod]| {
        let well = pods.iter().filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && is_ready(pod)
                && pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) != Some(node.as_str())
        });
        well.count() == 3
    };
    let now =
        wait_pods(pods, LABELS, Duration::from_secs(60), "three ready pods elsewhere", elsewhere).await?;
    report.timed("three pods are Ready on the other nodes", before.elapsed());
    let here: Vec<Pod> = now.into_iter().filter(|p| p.metadata.deletion_timestamp.is_none()).collect();
    show(&here, report);
    let before = Instant::now();
    ask(cluster, Order::NodeStart { name: node.clone() }).await?;
    let nodes: Api<Node> = Api::all(client.clone());
    ensure!(node_is_ready(&nodes.get(&node).await?), "{node} is not Ready again");
    report.timed(format!("power is back: {node} is Ready"), before.elapsed());
    Ok(())
}

async fn too_large(cluster: &Cluster, pods: &Api<Pod>, report: Report) -> Result<()> {
    report.title("6. Why: a pod that fits nowhere");
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "giant", "labels": {"app": "giant"}},
        "spec": {"containers": [{"name": "app", "image": "coracle.dev/demo:v1",
            "resources": {"requests": {"cpu": "3", "memory": "1Gi"}}}]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let refused = |pods: &[Pod]| {
        let conditions = pods.iter().flat_map(|p| &p.status).flat_map(|s| s.conditions.iter().flatten());
        conditions.into_iter().any(|c| c.type_ == "PodScheduled" && c.status == "False")
    };
    wait_pods(pods, "app=giant", Duration::from_secs(20), "the scheduler's verdict", refused).await?;
    report.text("$ coracle why pod/giant");
    report.text(assembly::why(cluster, "default", "giant").await?);
    pods.delete("giant", &Default::default()).await?;
    Ok(())
}

async fn trace(cluster: &Cluster, report: Report) -> Result<()> {
    report.title("7. Trace: from your request to the containers, each step with who did it and why");
    report.text("$ coracle trace deployment/web");
    let text = assembly::trace(cluster, "default", "web").await?;
    let lines: Vec<&str> = text.lines().collect();
    // The whole tree is longer than a screen, so only its beginning is shown.
    for line in lines.iter().take(28) {
        report.text(line);
    }
    if lines.len() > 28 {
        report.note(format!("... and {} lines more", lines.len() - 28));
    }
    Ok(())
}
