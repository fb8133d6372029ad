//! The figures that a release is judged by, each beside what bounds it on this machine: `cargo bench -p coracle`.
//!
//! Durable creates stand beside a bare loop of write and fdatasync; pods stand beside the same containers started by bare
//! calls to the engine. Absolute times of a shared machine are noise; the ratios are what counts. In parentheses: the
//! processor time that an answer took, of the server and of the load maker, which share the machine.

mod api;
mod load;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use coracle_client::kubeconfig::Credentials;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

const PODS: usize = 30;

struct Bench {
    home: tempfile::TempDir,
    name: String,
}

impl Bench {
    fn new(what: &str) -> Result<Bench> {
        Ok(Bench { home: tempfile::tempdir()?, name: format!("bench-{what}-{}", std::process::id()) })
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
    // `cargo test --benches` and `cargo bench -- --test` only ask whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    println!("{:<45} {:>12}   {:<29} {:>12}   {:>6}", "WHAT", "CORACLE", "BESIDE", "PEER", "RATIO");
    // `cargo bench -- api` leaves out what needs Docker.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if only.as_deref() != Some("pods") {
        api::figures(&Bench::new("api")?).await?;
    }
    if only.as_deref() != Some("api") {
        let bench = Bench::new("pods")?;
        start_up(&bench)?;
        pods(&bench).await?;
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
    let pods: Api<Pod> = Api::default_namespaced(bench.client().await?);
    let started = Instant::now();
    for number in 0..PODS {
        let pod = json!({"metadata": {"name": format!("p{number}")},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "coracle.dev/demo:v1"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    }
    loop {
        let list = pods.list(&ListParams::default()).await?;
        let running = list
            .items
            .iter()
            .filter(|p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running"));
        if running.count() == PODS {
            break;
        }
        ensure!(started.elapsed() < Duration::from_secs(120), "not all Running in 120 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ours = started.elapsed();
    let memory = bench.resident()?;
    let bare = bare_containers(&bench.name).await?;
    row(
        &format!("{PODS} pods Running, three nodes"),
        format!("{:.2} s", ours.as_secs_f64()),
        "bare calls, 2 each, 8 at once",
        format!("{:.2} s", bare.as_secs_f64()),
        format!("{:.2}", ours.as_secs_f64() / bare.as_secs_f64()),
    );
    row(&format!("resident, {PODS} pods"), format!("{memory:.1} MB"), "", String::new(), String::new());
    Ok(())
}

/// The same containers without an orchestrator: for each pod a sandbox and a container that joins its network.
async fn bare_containers(label: &str) -> Result<Duration> {
    use futures::{StreamExt, TryStreamExt};
    let docker = Docker::connect_with_local_defaults()?.negotiate_version().await?;
    let create = async |name: String, image: &str, network: Option<String>| -> Result<String> {
        let host = network.map(|id| bollard::models::HostConfig {
            network_mode: Some(format!("container:{id}")),
            ..Default::default()
        });
        let body = ContainerCreateBody { image: Some(image.into()), host_config: host, ..Default::default() };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let id = docker.create_container(Some(options), body).await?.id;
        docker.start_container(&id, None::<bollard::query_parameters::StartContainerOptions>).await?;
        Ok(id)
    };
    let started = Instant::now();
    let pairs: Vec<Result<(String, String)>> = futures::stream::iter(0..PODS)
        .map(|number| {
            let create = &create;
            async move {
                let sandbox = create(format!("{label}-bare-{number}-s"), "coracle.dev/pause:1", None).await?;
                let app =
                    create(format!("{label}-bare-{number}-c"), "coracle.dev/demo:v1", Some(sandbox.clone()))
                        .await?;
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
        .map(|id| {
            let docker = docker.clone();
            async move {
                let force = RemoveContainerOptionsBuilder::new().force(true).build();
                docker.remove_container(&id, Some(force)).await
            }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(took)
}
