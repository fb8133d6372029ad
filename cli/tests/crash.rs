//! SIGKILL at random points under load: no acknowledged write is lost, no container is restarted.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{TestCluster, docker, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};

/// How often a run kills.
const KILLS: u32 = 30;
const PODS: usize = 4;
/// How long anything that is waited for may take.
const WITHIN: Duration = Duration::from_secs(60);

async fn connect(kubeconfig: &Path) -> Client {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

fn map(name: &str) -> ConfigMap {
    let value = serde_json::json!({"metadata": {"name": name}, "data": {"k": "v".repeat(500)}});
    serde_json::from_value(value).expect("a ConfigMap")
}

/// Creates ConfigMaps as fast as it can and remembers what was acknowledged, with its revision.
async fn write(
    client: Client,
    writer: usize,
    done: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("w{writer}-{number}");
        match maps.create(&PostParams::default(), &map(&name)).await {
            Ok(made) => {
                let revision = made.resource_version().expect("a revision");
                acknowledged.lock().expect("no panic").insert(name, revision);
            }
            // The server is down just now: that is what this test is about.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Container ids and restart counts of the pods.
async fn running(pods: &Api<Pod>) -> BTreeMap<String, (String, i32)> {
    let list = pods.list(&ListParams::default()).await.expect("pods");
    list.items
        .iter()
        .flat_map(|pod| {
            let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            statuses.map(|c| (pod.name_any(), (c.container_id.clone().unwrap_or_default(), c.restart_count)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_container_is_restarted() {
    if docker().is_none() {
        return;
    }
    let cluster = TestCluster::up(&["--nodes", "2"]);
    let client = connect(&cluster.kubeconfig()).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for number in 0..PODS {
        let pod = serde_json::json!({
            "metadata": {"name": format!("app-{number}")},
            "spec": {"containers": [{"name": "app", "image": "coracle.dev/demo:v1"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod"))
            .await
            .expect("made");
    }
    let all_run = async {
        loop {
            let now = running(&pods).await;
            if now.len() == PODS && now.values().all(|(id, _)| !id.is_empty()) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let before = tokio::time::timeout(WITHIN, all_run).await.expect("the pods run");
    let containers = cluster.containers();

    let seed = std::env::var("CORACLE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    println!("CORACLE_SEED={seed}");
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let mut random = seed | 1;
    for kill in 0..KILLS {
        let done = Arc::new(AtomicBool::new(false));
        // A client of its own for each life: connections to the dead one are of no use.
        let client = connect(&cluster.kubeconfig()).await;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                tokio::spawn(write(
                    client.clone(),
                    writer + 4 * kill as usize,
                    done.clone(),
                    acknowledged.clone(),
                ))
            })
            .collect();
        // xorshift: between 0 and 300 ms of load.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 300)).await;
        let pid = cluster.pid().expect("it runs");
        let killed =
            std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
        assert!(killed.success());
        done.store(true, Ordering::Relaxed);
        for writer in writers {
            let ended = tokio::time::timeout(WITHIN, writer).await;
            ended.expect("a writer whose server was killed gives up").expect("no panic");
        }
        cluster.up_again(&[]);
    }

    let client = connect(&cluster.kubeconfig()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let stored: BTreeMap<String, String> = maps
        .list(&ListParams::default())
        .await
        .expect("a list")
        .items
        .iter()
        .map(|map| (map.name_any(), map.resource_version().unwrap_or_default()))
        .collect();
    let acknowledged = std::mem::take(&mut *acknowledged.lock().expect("no panic"));
    let lost: Vec<_> =
        acknowledged.iter().filter(|(name, revision)| stored.get(*name) != Some(revision)).collect();
    println!("{} writes acknowledged over {KILLS} kills, {} lost", acknowledged.len(), lost.len());
    assert!(acknowledged.len() > 100, "too little load to tell: {}", acknowledged.len());
    assert!(lost.is_empty(), "lost: {lost:?}");

    let pods: Api<Pod> = Api::default_namespaced(client);
    assert_eq!(running(&pods).await, before, "the same containers, not restarted");
    let now = eventually("the same containers", Duration::from_secs(10), || {
        let now = cluster.containers();
        if now == containers { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(now, containers);
}
