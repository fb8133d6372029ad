//! Pods on simulated containers make no file and leave none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coracle_agent::AgentConfig;
use coracle_agent::labels::{Mark, Owner};
use coracle_agent::runtime::Runtime as _;
use coracle_agent::sim::SimRuntime;
use coracle_api::{KindRef, kinds};
use coracle_client::fake::Fake;
use coracle_client::{Client, Clock, Op};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// What is below a folder, and what this cluster has in the machine's memory.
fn files(folder: &Path, cluster: &str) -> Vec<PathBuf> {
    let all =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let in_memory = all(Path::new("/dev/shm")).filter(|path| path.to_string_lossy().contains(cluster));
    all(folder).chain(in_memory).collect()
}

#[tokio::test(start_paused = true)]
async fn simulated_pods_touch_no_disk() {
    let cluster = format!("sim-{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let (root, on_host) = (folder.path().join("node"), folder.path().join("host"));
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime = Arc::new(SimRuntime::new(clock.clone(), Duration::from_millis(10)));
    let api = Fake::with_clock(clock.clone());
    let client: Arc<dyn Client> = Arc::new(api.clone());
    let create = async |kind: KindRef, mut object: Value| {
        object["apiVersion"] = json!("v1");
        object["kind"] = json!(kind.kind());
        object["metadata"]["namespace"] = json!("ns");
        let op = Op::Create { kind, namespace: "ns".into(), sub: None, object };
        client.write_one(op).await.unwrap().key.clone()
    };
    create(kinds::CONFIG_MAP.handle(), json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).await;
    create(kinds::SECRET.handle(), json!({"metadata": {"name": "s"}, "data": {"k": "dg=="}})).await;
    let volumes = json!([
        {"name": "map", "configMap": {"name": "m"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "names", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "disk", "emptyDir": {"sizeLimit": "5Mi"}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": on_host, "type": "DirectoryOrCreate"}},
    ]);
    let mounts: Vec<Value> = volumes
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| json!({"name": volume["name"], "mountPath": volume["name"], "subPath": "a/b"}))
        .collect();
    let container = json!({"name": "c", "image": "i", "volumeMounts": mounts, "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [{"name": "SIM_RUN_MS", "value": "2000"}, {"name": "SIM_EXIT_CODE", "value": "1"}]});
    let spec = json!({"nodeName": "node-1", "containers": [container], "volumes": volumes});
    let key = create(kinds::POD.handle(), json!({"metadata": {"name": "x"}, "spec": spec})).await;

    let config = AgentConfig::new(&cluster, "node-1", runtime.clone(), root.clone());
    let stop = CancellationToken::new();
    let agent = coracle_agent::start(client.clone(), config, clock, stop.clone());
    let until = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let mut shown = Value::Null;
        let seen = tokio::time::timeout(Duration::from_secs(300), async {
            loop {
                shown = api.peek(&key).map(|pod| pod.value().unwrap()).unwrap_or_default();
                if holds(&shown) {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(seen.await.is_ok(), "never {what}: {shown:#}");
    };
    until("restarted", &|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    // Long enough for a refresh and a measurement.
    sleep(Duration::from_secs(130)).await;
    let owner = Owner::node(&cluster, "node-1");
    let known = runtime.open_files(&root, &owner).await.unwrap();
    assert_eq!(known.pods().await.len(), 1, "it would have files");
    assert_eq!(files(folder.path(), &cluster), Vec::<PathBuf>::new());

    client.write_one(Op::delete_key(key.clone()).with_grace(1)).await.unwrap();
    until("gone", &Value::is_null).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(known.pods().await, Vec::<String>::new());
    stop.cancel();
    agent.await.unwrap();
    coracle_agent::cleanup(runtime.as_ref(), &Mark::new(&cluster, None), None, &[root]).await.unwrap();
    assert_eq!(files(folder.path(), &cluster), Vec::<PathBuf>::new());
}
