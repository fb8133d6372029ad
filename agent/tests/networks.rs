//! Somebody else touches the cluster's network on a real engine. The whole of it is played on simulated containers
//! (`keeps/network.rs`); this shows that Docker tells what the agent needs for it.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectNetworkOptions, RemoveContainerOptions, StartContainerOptions,
};
use coracle_agent::labels::{CLUSTER, Mark, Owner};
use coracle_agent::runtime::{Error, Runtime};
use coracle_api::{Key, kinds};
use coracle_client::{Client, Interest, Op};
use serde_json::{Value, json};

mod common;
use common::IMAGE;
use common::bench::{Bench, PATIENCE, pod, sleeper};

fn ready(status: &Value) -> bool {
    status["containerStatuses"][0]["ready"] == true
}

fn one() -> Value {
    json!({"containers": [sleeper("c")], "terminationGracePeriodSeconds": 0})
}

fn engine() -> Docker {
    Docker::connect_with_defaults().unwrap()
}

fn network_of(bench: &Bench) -> String {
    format!("coracle-{}", bench.name)
}

/// The network's subnet and its cluster, as the engine shows them.
async fn shown(docker: &Docker, network: &str) -> Option<(String, Option<String>)> {
    let found = docker.inspect_network(network, None::<InspectNetworkOptions>).await.ok()?;
    let pools = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let subnet = pools.into_iter().find_map(|pool| pool.subnet).unwrap_or_default();
    Some((subnet, found.labels.unwrap_or_default().remove(CLUSTER)))
}

async fn disconnect(docker: &Docker, network: &str, container: &str) {
    let request = NetworkDisconnectRequest { container: container.into(), force: Some(true) };
    docker.disconnect_network(network, request).await.unwrap();
}

async fn events(bench: &Bench, reason: &str) -> usize {
    let (events, _) = bench.cluster.list(&Interest::all(&kinds::EVENT)).await.unwrap();
    events.iter().filter(|event| event.value().unwrap()["reason"] == reason).count()
}

/// Waits until the Node's condition `Ready` holds this.
async fn until_node(bench: &Bench, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let key = Key::new(&kinds::NODE, "", "node-1");
    let mut shown = Value::Null;
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            let node = bench.cluster.get(&key).await.unwrap().unwrap().value().unwrap();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            shown = conditions.into_iter().find(|one| one["type"] == "Ready").unwrap_or_default();
            if holds(&shown) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(seen.await.is_ok(), "the Node is never {what}: {shown:#}");
    shown
}

/// `docker network prune` on an idle cluster; then somebody takes its addresses for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_network_is_made_again_as_it_was() {
    let Some(bench) = Bench::new("prune-net").await else { return };
    let (docker, network) = (engine(), network_of(&bench));
    let key = bench.create(pod("first", one())).await;
    bench.until(&key, "ready", ready).await;
    let before = shown(&docker, &network).await.unwrap();
    assert_eq!(before.1.as_ref(), Some(&bench.name));
    bench.client().write_one(Op::delete_key(key)).await.unwrap();
    let removed = tokio::time::timeout(PATIENCE, async {
        // Refused for as long as the pod's sandbox is there.
        while docker.remove_network(&network).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    removed.await.expect("an idle network can be removed");
    let key = bench.create(pod("second", one())).await;
    bench.until(&key, "ready", ready).await;
    assert_eq!(shown(&docker, &network).await, Some(before.clone()));
    assert_eq!(
        (events(&bench, "NetworkMadeAgain").await, events(&bench, "FailedCreatePodSandBox").await),
        (1, 0)
    );

    let sandbox = bench.containers().await["second/POD.0"].id.clone();
    disconnect(&docker, &network, &sandbox).await;
    docker.remove_network(&network).await.unwrap();
    let pool = IpamConfig { subnet: Some(before.0.clone()), ..Default::default() };
    let request = NetworkCreateRequest {
        name: format!("{network}-squatter"),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Default::default() }),
        ..Default::default()
    };
    let squatter = match docker.create_network(request).await {
        Ok(made) => made.id,
        // The agent was quicker: that is as it should be, and there is no more to see.
        Err(_) => return bench.finish().await,
    };
    let down = until_node(&bench, "not ready", |ready| ready["status"] == "False").await;
    docker.remove_network(&squatter).await.unwrap();
    let message = down["message"].as_str().unwrap_or_default();
    assert_eq!(down["reason"], "KubeletNotReady");
    assert!(message.starts_with("container runtime network not ready: NetworkReady=false"), "{down:#}");
    assert!(message.contains(&before.0) && message.contains("-squatter"), "who has the addresses: {down:#}");
    until_node(&bench, "ready", |ready| ready["status"] == "True").await;
    bench.until(&key, "ready", ready).await;
    assert_eq!(shown(&docker, &network).await, Some(before));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_lost_its_address_is_made_anew() {
    let Some(mut bench) = Bench::new("disconnect").await else { return };
    let (docker, network) = (engine(), network_of(&bench));
    let key = bench.create(pod("x", one())).await;
    let before = bench.until(&key, "ready", ready).await;
    let ip = before["podIP"].as_str().unwrap().to_owned();
    for (round, agent_runs) in [(1, true), (2, false)] {
        let sandbox = bench.containers().await["x/POD.0"].id.clone();
        if !agent_runs {
            bench.kill_agent().await;
        }
        disconnect(&docker, &network, &sandbox).await;
        if !agent_runs {
            // Back again, but at an address that the engine chooses: the status would lie.
            let request = NetworkConnectRequest { container: sandbox.clone(), ..Default::default() };
            docker.connect_network(&network, request).await.unwrap();
            let other = bench.runtime.inspect(&sandbox).await.unwrap().unwrap().address;
            bench.start_agent();
            if other.is_some_and(|other| other.to_string() == ip) {
                // The engine has given it the same one: then nothing is wrong.
                continue;
            }
        }
        let again = |status: &Value| status["containerStatuses"][0]["restartCount"] == round && ready(status);
        let after = bench.until(&key, "made anew", again).await;
        assert_eq!(after["podIP"].as_str(), Some(ip.as_str()), "it keeps its address");
        let made = bench.containers().await["x/POD.0"].clone();
        assert_ne!(made.id, sandbox);
        assert_eq!(made.address.map(|address| address.to_string()), Some(ip.clone()));
    }
    bench.finish().await;
}

/// What is not ours is not removed; the one who ends the cluster is told by name what is in the way.
#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_a_network_from_being_removed_is_named() {
    let Some(runtime) = common::docker("in-use").await else { return };
    let (docker, cluster) = (engine(), format!("test-in-use-{}", std::process::id()));
    let network = runtime.ensure_network(&Mark::new(&cluster, None), None).await.unwrap();
    let name = format!("stranger-of-{cluster}");
    let body = ContainerCreateBody {
        image: Some(IMAGE.into()),
        host_config: Some(HostConfig { network_mode: Some(network.name.clone()), ..Default::default() }),
        ..Default::default()
    };
    let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
    let theirs = docker.create_container(Some(options), body).await.unwrap().id;
    docker.start_container(&theirs, None::<StartContainerOptions>).await.unwrap();
    let everything = Owner { cluster, node: None };
    let refused = tokio::time::timeout(Duration::from_secs(5), runtime.clean_up(&everything, "")).await;
    let options = RemoveContainerOptions { force: true, ..Default::default() };
    docker.remove_container(&theirs, Some(options)).await.unwrap();
    let removed = runtime.clean_up(&everything, "").await.unwrap();
    let refused = refused.expect("it is told at once").unwrap_err();
    assert_eq!(refused, Error::InUse { network: network.name, containers: vec![name.clone()] });
    assert!(
        refused.to_string().contains(&name) && refused.to_string().contains("docker network disconnect -f")
    );
    assert_eq!(removed.networks, 1);
}
