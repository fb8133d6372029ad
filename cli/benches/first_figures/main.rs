//! The figures that a release is judged by, each beside what bounds it on this machine: `cargo bench -p coracle`, or one
//! of them with `-- start`, `-- api`, `-- memory`, `-- pods`.
//!
//! Durable creates stand beside a bare loop of write and fdatasync, and beside puts of as much into an etcd on the same disk, if there
//! is one; pods stand beside the same containers started by bare
//! calls to the engine, on a network of the same kind. Absolute times of a shared machine are noise; the ratios are what
//! counts. In parentheses: the processor time that an answer took, of the server and of the load maker, which share the
//! machine. With `--test`, as CI runs it, everything runs once and small: its figures mean nothing, its failures do.

mod api;
mod etcd;
mod load;
#[path = "../../../apiserver/src/store/etcd/process.rs"]
mod process;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use coracle_client::kubeconfig::Credentials;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    /// How long a rate is measured.
    time: Duration,
    /// Pods in a list.
    listed: usize,
    /// Watchers of one namespace.
    watchers: usize,
    /// Pods on one node.
    pods: usize,
    /// ConfigMaps that a full server holds, and a third as many pods.
    held: usize,
    /// How often pods and their peer take turns: the machine is not equally fast all the time.
    rounds: usize,
}

impl Scale {
    /// Enough for figures that mean something.
    const FULL: Scale = Scale {
        time: Duration::from_secs(4),
        listed: 4000,
        watchers: 1000,
        pods: 30,
        held: 24_000,
        rounds: 3,
    };
    /// Just enough to see that everything runs.
    const SMOKE: Scale =
        Scale { time: Duration::from_millis(100), listed: 10, watchers: 10, pods: 2, held: 300, rounds: 1 };
}

struct Bench {
    home: tempfile::TempDir,
    name: String,
    scale: Scale,
}

impl Bench {
    fn new(what: &str, scale: Scale) -> Result<Bench> {
        let name = format!("bench-{what}-{}", std::process::id());
        Ok(Bench { home: tempfile::tempdir()?, name, scale })
    }

    fn coracle(&self, arguments: &[&str]) -> Result<String> {
        let out = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .env("CORACLE_HOME", self.home.path())
            .args(["--name", &self.name])
            .args(arguments)
            .output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "coracle {}: {text}", arguments.join(" "));
        Ok(text)
    }

    fn dir(&self) -> std::path::PathBuf {
        self.home.path().join(&self.name)
    }

    async fn client(&self) -> Result<Client> {
        let config = kube::config::Kubeconfig::read_from(self.dir().join("kubeconfig"))?;
        Ok(Client::try_from(kube::Config::from_custom_kubeconfig(config, &Default::default()).await?)?)
    }

    fn target(&self) -> Result<load::Target> {
        let text = std::fs::read_to_string(self.dir().join("kubeconfig"))?;
        load::Target::new(&Credentials::from_kubeconfig(&text)?, self.pid()?)
    }

    /// The cluster's process.
    fn pid(&self) -> Result<u32> {
        let status = self.coracle(&["status"])?;
        let line = status.lines().find(|line| line.starts_with(&self.name)).context("not running")?;
        Ok(line.split_whitespace().nth(4).context("no pid")?.parse()?)
    }

    /// Resident memory of the cluster's process in MB.
    fn resident(&self) -> Result<f64> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(kib.split_whitespace().next().context("no figure")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = self.coracle(&["down", "--purge"]) {
            eprintln!("{error:#}");
        }
    }
}

fn row(what: &str, ours: String, peer: &str, theirs: String, ratio: String) {
    println!("{what:<45} {ours:>12}   {peer:<29} {theirs:>12}   {ratio:>6}");
}

#[tokio::main]
async fn main() -> Result<()> {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let scale = if smoke { Scale::SMOKE } else { Scale::FULL };
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|one| one == name);
    println!("{:<45} {:>12}   {:<29} {:>12}   {:>6}", "WHAT", "CORACLE", "BESIDE", "PEER", "RATIO");
    if wanted("start") {
        start_up(&Bench::new("start", scale)?)?;
    }
    if wanted("api") {
        api::figures(&Bench::new("api", scale)?).await?;
    }
    if wanted("memory") {
        for parts in ["apiserver", "apiserver,controllers,scheduler"] {
            api::memory(&Bench::new("memory", scale)?, parts).await?;
        }
    }
    if wanted("pods") {
        pods(&Bench::new("pods", scale)?).await?;
    }
    Ok(())
}

fn start_up(bench: &Bench) -> Result<()> {
    // The first start makes keys and images; the figure is that of a later one, as a user has it each morning.
    bench.coracle(&["up", "--nodes", "3", "--no-context"])?;
    bench.coracle(&["down"])?;
    let told = bench.coracle(&["up", "--nodes", "3", "--no-context"])?;
    let took = |what: &str| {
        let line = told.lines().find(|line| line.contains(what)).unwrap_or_default();
        line.split_whitespace()
            .rev()
            .take(2)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join(" ")
    };
    row("up: first answer", took("answers"), "goal", "500 ms".into(), String::new());
    row("up: three nodes Ready", took("Ready"), "", String::new(), String::new());
    row(
        "resident, idle, three agents",
        format!("{:.1} MB", bench.resident()?),
        "goal",
        "40 MB".into(),
        String::new(),
    );
    Ok(())
}

async fn pods(bench: &Bench) -> Result<()> {
    let Scale { pods: count, rounds, .. } = bench.scale;
    bench.coracle(&["up", "--nodes", "1", "--no-context"])?;
    let pods: Api<Pod> = Api::default_namespaced(bench.client().await?);
    let docker = Docker::connect_with_local_defaults()?.negotiate_version().await?;
    // Makes the images, which is not what is measured.
    some_pods(&pods, 1).await?;
    let (mut ours, mut theirs, mut memory) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..rounds {
        ours.push(some_pods(&pods, count).await?);
        memory = bench.resident()?;
        theirs.push(bare_containers(&docker, &format!("{}-bare", bench.name), count).await?);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[rounds / 2].as_secs_f64()
    };
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    row(
        &format!("{count} pods Running, one node"),
        format!("{ours:.2} s"),
        "bare calls, 8 pods at once",
        format!("{theirs:.2} s"),
        format!("{:.2}", ours / theirs),
    );
    row(&format!("resident after {count} pods"), format!("{memory:.1} MB"), "", String::new(), String::new());
    Ok(())
}

/// Makes pods, waits until all run, and removes them. Answers how long they took to run.
async fn some_pods(pods: &Api<Pod>, count: usize) -> Result<Duration> {
    let started = Instant::now();
    for number in 0..count {
        let pod = json!({"metadata": {"name": format!("p{number}")},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "coracle.dev/demo:v1"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    }
    let runs = |pod: &&Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    until(|| async {
        Ok(pods.list(&ListParams::default()).await?.items.iter().filter(runs).count() == count)
    })
    .await?;
    let took = started.elapsed();
    pods.delete_collection(&DeleteParams::default().grace_period(1), &ListParams::default()).await?;
    until(|| async { Ok(pods.list(&ListParams::default()).await?.items.is_empty()) }).await?;
    Ok(took)
}

/// Asks again and again, within two minutes.
async fn until<F: Future<Output = Result<bool>>>(holds: impl Fn() -> F) -> Result<()> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.context("not within two minutes")?
}

/// The same containers without an orchestrator: for each pod a sandbox on a network of its own making, as a cluster's is,
/// and a container that joins it.
async fn bare_containers(docker: &Docker, label: &str, count: usize) -> Result<Duration> {
    use futures::{StreamExt, TryStreamExt};
    let request = NetworkCreateRequest { name: label.into(), ..Default::default() };
    let network = docker.create_network(request).await?.id;
    let create = async |name: String, image: &str, network: &str| -> Result<String> {
        let host = HostConfig { network_mode: Some(network.into()), ..Default::default() };
        let body =
            ContainerCreateBody { image: Some(image.into()), host_config: Some(host), ..Default::default() };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let id = docker.create_container(Some(options), body).await?.id;
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        Ok(id)
    };
    let started = Instant::now();
    let pairs: Vec<Result<(String, String)>> = futures::stream::iter(0..count)
        .map(|number| {
            let (create, network) = (&create, &network);
            async move {
                let sandbox =
                    create(format!("{label}-{number}-s"), coracle_agent::PAUSE_IMAGE, network).await?;
                let joined = format!("container:{sandbox}");
                let app = create(format!("{label}-{number}-c"), "coracle.dev/demo:v1", &joined).await?;
                anyhow::Ok((sandbox, app))
            }
        })
        .buffer_unordered(8)
        .collect()
        .await;
    let took = started.elapsed();
    let ids: Vec<String> =
        pairs.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flat_map(|(a, b)| [b, a]).collect();
    futures::stream::iter(ids)
        .map(|id| async move {
            let force = RemoveContainerOptionsBuilder::new().force(true).build();
            docker.remove_container(&id, Some(force)).await
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    docker.remove_network(&network).await?;
    Ok(took)
}
