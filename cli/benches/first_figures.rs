//! The figures that a release is judged by, each beside what bounds it on this machine: `cargo bench -p coracle`.
//!
//! Durable creates stand beside a bare loop of write and fdatasync; pods stand beside the same containers started by bare
//! calls to the engine. Absolute times of a shared machine are noise; the ratios are what counts.

use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

const FOR: Duration = Duration::from_secs(4);
const PODS: usize = 30;

struct Bench {
    home: tempfile::TempDir,
    name: String,
}

impl Bench {
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

    /// Resident memory of the cluster's process in MB.
    fn resident(&self) -> Result<f64> {
        let status = self.coracle(&["status"])?;
        let line = status.lines().find(|line| line.starts_with(&self.name)).context("not running")?;
        let pid = line.split_whitespace().nth(4).context("no pid")?;
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
    println!("{what:<34} {ours:>14}   {peer:<26} {theirs:>14}   {ratio:>7}");
}

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo test --benches` and `cargo bench -- --test` only ask whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    println!("{:<34} {:>14}   {:<26} {:>14}   {:>7}", "WHAT", "CORACLE", "BESIDE", "PEER", "RATIO");
    let bench = Bench { home: tempfile::tempdir()?, name: format!("bench-{}", std::process::id()) };
    start_up(&bench)?;
    creates(&bench).await?;
    pods(&bench).await
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

fn config_map(name: String) -> Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"payload": "x".repeat(1300)}}))?)
}

async fn creates(bench: &Bench) -> Result<()> {
    for writers in [1_usize, 8, 64] {
        let bare = fdatasyncs(&bench.dir())?;
        let made = Arc::new(AtomicU64::new(0));
        let deadline = Instant::now() + FOR;
        let mut tasks = Vec::new();
        for writer in 0..writers {
            // A connection for each writer, as different clients have.
            let maps: Api<ConfigMap> = Api::default_namespaced(bench.client().await?);
            let made = made.clone();
            tasks.push(tokio::spawn(async move {
                for number in 0.. {
                    if Instant::now() > deadline {
                        break;
                    }
                    let name = format!("b{writers}-{writer}-{number}");
                    maps.create(&PostParams::default(), &config_map(name)?).await?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let rate = made.load(Ordering::Relaxed) as f64 / FOR.as_secs_f64();
        row(
            &format!("durable creates, {writers} writers"),
            format!("{rate:.0}/s"),
            "write + fdatasync, alone",
            format!("{bare:.0}/s"),
            format!("{:.2}", rate / bare),
        );
    }
    Ok(())
}

/// The physical limit of a lone durable write: how many the disk does in a second.
fn fdatasyncs(folder: &Path) -> Result<f64> {
    let path = folder.join("fdatasync-probe");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&vec![0; 1 << 20])?;
    file.sync_all()?;
    let started = Instant::now();
    let mut count = 0_u64;
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all_at(&[7; 1500], (count % 500) * 1500)?;
        file.sync_data()?;
        count += 1;
    }
    std::fs::remove_file(path)?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
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
