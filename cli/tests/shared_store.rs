//! Two API servers on one etcd, each a process: clients on both, and any of the three killed or stopped.

mod common;
#[path = "../../apiserver/src/store/etcd/process.rs"]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Component, eventually, executable};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount};
use kube::api::{Api, ListParams, LogParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use process::EtcdProcess;
use serde_json::{Value, json};

/// How long anything that is waited for may take.
const WITHIN: Duration = Duration::from_secs(60);

/// An API server's process, in a folder of its own, with the authority that all share.
struct Server {
    child: Child,
    dir: PathBuf,
}

impl Server {
    fn start(etcd: &EtcdProcess, home: &Path, name: &str) -> Server {
        let dir = home.join(name);
        let _ = std::fs::remove_file(dir.join("kubeconfig"));
        let text = |path: &Path| path.to_str().expect("a path in text").to_owned();
        let child = Command::new(executable())
            .args(["apiserver", "--port", "0", "--data-dir", &text(&dir)])
            .args(["--pki-dir", &text(&home.join("pki")), "--store", "etcd", "--etcd-endpoints", &etcd.url])
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(home.join("log")).expect("a log"))
            .spawn()
            .expect("coracle runs");
        let server = Server { child, dir };
        eventually("the server answers", WITHIN, || {
            // The last file that it writes.
            if server.dir.join("join-token").exists() && server.dir.join("kubeconfig").exists() {
                Ok(())
            } else {
                Err(std::fs::read_to_string(home.join("log")).unwrap_or_default())
            }
        });
        server
    }

    async fn client(&self) -> Client {
        let kubeconfig =
            kube::config::Kubeconfig::read_from(self.dir.join("kubeconfig")).expect("a kubeconfig");
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        Client::try_from(config).expect("a client")
    }

    fn url(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("kubeconfig")).expect("a kubeconfig");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("server: "));
        line.expect("a server").to_owned()
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Both servers' latest clients: a server that was started again has another port.
type Clients = Arc<Mutex<[Client; 2]>>;

fn client(clients: &Clients, which: usize) -> Client {
    clients.lock().expect("no panic")[which % 2].clone()
}

/// What a writer was told: the revision, and of a Service what it was given.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

/// Makes ConfigMaps and Services as fast as it can, on the server of its number.
async fn write(clients: Clients, writer: usize, done: Arc<AtomicBool>, acknowledged: Acknowledged) {
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let client = client(&clients, writer);
        let name = format!("w{writer}-{number}");
        let made = if number % 4 == 0 {
            let service = json!({"metadata": {"name": name},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
            let service: Service = serde_json::from_value(service).expect("a Service");
            let services: Api<Service> = Api::default_namespaced(client);
            services.create(&PostParams::default(), &service).await.map(|made| made.resource_version())
        } else {
            let map = json!({"metadata": {"name": name}, "data": {"k": "v".repeat(500)}});
            let map: ConfigMap = serde_json::from_value(map).expect("a ConfigMap");
            let maps: Api<ConfigMap> = Api::default_namespaced(client);
            maps.create(&PostParams::default(), &map).await.map(|made| made.resource_version())
        };
        match made {
            Ok(revision) => {
                acknowledged.lock().expect("no panic").insert(name, revision.expect("a revision"));
            }
            // The server, or etcd, is down just now: that is what this test is about.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Follows the ConfigMaps from a revision on; where a watch breaks off, it goes on at the other server, from where it was.
async fn follow(
    clients: Clients,
    mut which: usize,
    from: String,
    seen: Arc<Mutex<Vec<(u64, String)>>>,
    breaks: Arc<AtomicUsize>,
) {
    let mut revision = from;
    loop {
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&clients, which));
        let watch = maps.watch(&WatchParams::default().timeout(30), &revision).await;
        if let Ok(events) = watch {
            let mut events = events.boxed();
            while let Some(Ok(event)) = events.next().await {
                match event {
                    WatchEvent::Added(map) => {
                        revision = map.resource_version().expect("a revision");
                        let number = revision.parse().expect("a number");
                        seen.lock().expect("no panic").push((number, map.name_any()));
                    }
                    WatchEvent::Error(status) => {
                        // A server that has just started may be a little behind the other.
                        assert_eq!(status.code, 504, "a watch from {revision} was refused: {status:?}");
                        break;
                    }
                    other => panic!("only new objects are made: {other:?}"),
                }
            }
        }
        breaks.fetch_add(1, Ordering::Relaxed);
        which += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_given_out_twice_whichever_is_killed() {
    let Some(etcd) = process::started() else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut servers = [Server::start(&etcd, home.path(), "a"), Server::start(&etcd, home.path(), "b")];
    let clients: Clients = Arc::new(Mutex::new([servers[0].client().await, servers[1].client().await]));
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&clients, 0));
    let start = maps.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let start = start.expect("a revision");
    let breaks = Arc::new(AtomicUsize::new(0));
    let watchers: Vec<_> = (0..2)
        .map(|which| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let task =
                tokio::spawn(follow(clients.clone(), which, start.clone(), seen.clone(), breaks.clone()));
            (seen, task)
        })
        .collect();
    let acknowledged = Acknowledged::default();
    let seed = std::env::var("CORACLE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1_u64);
    println!("CORACLE_SEED={seed}");
    let mut random = seed | 1;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| tokio::spawn(write(clients.clone(), writer, done.clone(), acknowledged.clone())))
        .collect();
    for round in 0..6 {
        // xorshift: between 0.2 and 1.2 s of load.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(200 + random % 1000)).await;
        if round == 3 {
            etcd.signal("STOP");
            tokio::time::sleep(Duration::from_millis(1500)).await;
            etcd.signal("CONT");
            continue;
        }
        let which = (random / 1000 % 2) as usize;
        servers[which].kill();
        servers[which] = Server::start(&etcd, home.path(), ["a", "b"][which]);
        let again = servers[which].client().await;
        clients.lock().expect("no panic")[which] = again;
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        tokio::time::timeout(WITHIN, writer).await.expect("a writer ends").expect("no panic");
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().expect("no panic"));

    let mut worlds = Vec::new();
    for which in 0..2 {
        let client = client(&clients, which);
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let services: Api<Service> = Api::default_namespaced(client);
        let maps = maps.list(&ListParams::default()).await.expect("ConfigMaps");
        let services = services.list(&ListParams::default()).await.expect("Services");
        let named = |name: String, revision: Option<String>| (name, revision.unwrap_or_default());
        let maps = maps.items.iter().map(|map| named(map.name_any(), map.resource_version()));
        let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for service in &services.items {
            let spec = service.spec.as_ref().expect("a spec");
            assert!(addresses.insert(spec.cluster_ip.clone()), "an address twice: {service:?}");
            for port in spec.ports.iter().flatten().filter_map(|port| port.node_port) {
                assert!(ports.insert(port), "a port twice: {service:?}");
            }
        }
        let services = services.items.iter().map(|s| named(s.name_any(), s.resource_version()));
        worlds.push((maps.collect::<BTreeMap<_, _>>(), services.collect::<BTreeMap<_, _>>()));
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|(name, revision)| {
            let (maps, services) = &worlds[0];
            maps.get(*name).or(services.get(*name)) != Some(*revision)
        })
        .collect();
    println!(
        "{} writes acknowledged, {} lost; watches broke off {} times",
        acknowledged.len(),
        lost.len(),
        breaks.load(Ordering::Relaxed)
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(worlds[0], worlds[1], "both servers show the same");
    assert!(acknowledged.len() > 100, "too little load to tell: {}", acknowledged.len());

    let mut expected: Vec<(u64, String)> = worlds[0]
        .0
        .iter()
        .map(|(name, revision)| (revision.parse().expect("a number"), name.clone()))
        .collect();
    expected.sort();
    for (seen, task) in watchers {
        let all = async {
            while seen.lock().expect("no panic").len() < expected.len() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(WITHIN, all).await;
        assert!(!task.is_finished(), "a watcher has panicked");
        task.abort();
        assert_eq!(*seen.lock().expect("no panic"), expected, "every change once and in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_server_has_is_found_through_the_other() {
    let Some(etcd) = process::started() else { return };
    let home = tempfile::tempdir().expect("a temporary folder");
    let one = Server::start(&etcd, home.path(), "a");
    let mut two = Server::start(&etcd, home.path(), "b");
    let file = |name: &str| two.dir.join(name).to_str().expect("a path in text").to_owned();
    let node_dir = home.path().join("node").to_str().expect("a path in text").to_owned();
    let (scheduler, controllers) = (file("scheduler.kubeconfig"), file("controllers.kubeconfig"));
    let _scheduler = Component::start(&["scheduler", "--kubeconfig", &scheduler]);
    let _controllers = Component::start(&["controllers", "--kubeconfig", &controllers, "--timing", "demo"]);
    let (urls, ca, token) = (format!("{},{}", two.url(), one.url()), file("ca.crt"), file("join-token"));
    let _agent = Component::start(&[
        "agent",
        "--node",
        "far",
        "--runtime",
        "sim",
        "--timing",
        "demo",
        "--server",
        &urls,
        "--ca",
        &ca,
        "--token-file",
        &token,
        "--data-dir",
        &node_dir,
    ]);
    let client = one.client().await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    wait_for("the account", async || accounts.get_opt("default").await.is_ok_and(|one| one.is_some())).await;
    let nodes: Api<Node> = Api::all(client.clone());
    wait_for("the node joins", async || nodes.get_opt("far").await.is_ok_and(|node| node.is_some())).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({"metadata": {"name": "web"},
        "spec": {"containers": [{"name": "c", "image": "coracle.dev/demo:v1"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("made");
    wait_for("the pod runs", async || {
        let pod = pods.get("web").await.expect("the pod");
        pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
    })
    .await;
    // The agent's line ends at the second server, and the first is asked.
    // A simulated container writes nothing; that an answer comes at all is the agent's doing.
    pods.logs("web", &LogParams::default()).await.expect("the log, through the other server");
    let request = http::Request::get("/coracle/v1/verdicts/default/web").body(Vec::new()).expect("a request");
    let verdict: Value = client.request(request).await.expect("the verdict, through the other server");
    assert_eq!(verdict["node"], "far", "{verdict}");

    // The agent's server goes, and the scheduler's with it: the agent dials the other one.
    two.kill();
    let late = json!({"metadata": {"name": "late"},
        "spec": {"nodeName": "far", "containers": [{"name": "c", "image": "coracle.dev/demo:v1"}]}});
    let late: Pod = serde_json::from_value(late).expect("a pod");
    pods.create(&PostParams::default(), &late).await.expect("made");
    wait_for("the pod runs, of which only the other server tells", async || {
        let pod = pods.get("late").await.expect("the pod");
        pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
    })
    .await;
    wait_for("the log, without another server between", async || {
        pods.logs("late", &LogParams::default()).await.is_ok()
    })
    .await;
}

async fn wait_for(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // Other processes are at work: there is nothing here to be woken by.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
