//! The API server alone, over TLS: durable creates, reads, watches.

use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::load::{Outcome, Target, request, run};
use crate::{Bench, Scale, etcd, process, row};

/// How long a server has to fold what was written, and to give memory back.
const SETTLES: Duration = Duration::from_secs(5);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

pub async fn figures(bench: &Bench) -> Result<()> {
    // Nobody else is there who could touch what is made, or take time from the server.
    bench.coracle(&["up", "--parts", "apiserver", "--no-context"])?;
    let target = bench.target()?;
    creates(bench, &target).await?;
    reads(bench.scale, &target).await?;
    watches(bench.scale, &target).await?;
    row("resident after these", format!("{:.1} MB", bench.resident()?), "", String::new(), String::new());
    Ok(())
}

/// What a full server holds in memory, alone and with the components whose informers hold objects, too.
pub async fn memory(bench: &Bench, parts: &str) -> Result<()> {
    bench.coracle(&["up", "--parts", parts, "--no-context"])?;
    let target = bench.target()?;
    let (maps, pods) = (bench.scale.held, bench.scale.held / 3);
    let account = json!({"metadata": {"name": "default"}}).to_string();
    let mut line = target.open().await?;
    // With controllers it is there already.
    let _ = line.ask(&request("POST", "/api/v1/namespaces/default/serviceaccounts", &account)).await;
    let payload = "x".repeat(1300);
    fill(&target, maps, move |number| {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"payload": payload}});
        request("POST", MAPS, &map.to_string())
    })
    .await?;
    fill(&target, pods, |number| request("POST", PODS, &pod(&format!("p{number}"), "held"))).await?;
    tokio::time::sleep(SETTLES).await;
    let what = format!("resident, {maps} ConfigMaps, {pods} pods, {parts}");
    row(&what, format!("{:.1} MB", bench.resident()?), "goal", "250 MB".into(), String::new());
    Ok(())
}

/// Makes so many objects as fast as it goes.
async fn fill(
    target: &Target,
    count: usize,
    make: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> Result<()> {
    const LINES: usize = 64;
    let make = Arc::new(make);
    let mut tasks = Vec::new();
    for first in 0..LINES {
        let (mut line, make) = (target.open().await?, make.clone());
        tasks.push(tokio::spawn(async move {
            for number in (first..count).step_by(LINES) {
                line.ask(&make(number)).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// A row with the processor time that each answer took, of the server and of the load maker.
fn rate_row(what: &str, outcome: &Outcome, peer: &str, theirs: f64) {
    let costs = format!("{what} ({:.0}+{:.0} us)", outcome.server, outcome.load);
    let ratio = format!("{:.2}", outcome.rate / theirs);
    row(&costs, format!("{:.0}/s", outcome.rate), peer, format!("{theirs:.0}/s"), ratio);
}

async fn creates(bench: &Bench, target: &Target) -> Result<()> {
    let payload = "x".repeat(1300);
    let map = move |name: String| {
        request("POST", MAPS, &json!({"metadata": {"name": name}, "data": {"payload": payload}}).to_string())
    };
    let etcd = process::started();
    if let Some(etcd) = &etcd {
        etcd::answers(&etcd.url).await?;
    }
    for clients in [1_usize, 8, 64] {
        let bare = fdatasyncs(&bench.dir())?;
        let map = map.clone();
        let made = run(target, clients, bench.scale.time, move |client, number| {
            map(format!("b{clients}-{client}-{number}"))
        })
        .await?;
        rate_row(&format!("creates, {clients} clients"), &made, "write + fdatasync, alone", bare);
        if let Some(etcd) = &etcd {
            let puts = etcd::puts(&etcd.url, clients, bench.scale.time).await?;
            rate_row("    beside etcd", &made, "puts into etcd, as many clients", puts);
        }
    }
    drop(etcd);
    let account = json!({"metadata": {"name": "default"}}).to_string();
    target
        .open()
        .await?
        .ask(&request("POST", "/api/v1/namespaces/default/serviceaccounts", &account))
        .await?;
    let bare = fdatasyncs(&bench.dir())?;
    let made = run(target, 64, bench.scale.time, |client, number| {
        request("POST", PODS, &pod(&format!("p-{client}-{number}"), "made"))
    })
    .await?;
    rate_row("pod creates, 64 clients", &made, "write + fdatasync, alone", bare);
    Ok(())
}

fn pod(name: &str, app: &str) -> String {
    json!({
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{
            "name": "web",
            "image": "example.com/web:1",
            "ports": [{"containerPort": 8080}],
            "env": [{"name": "MODE", "value": "production"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
        }]},
    })
    .to_string()
}

async fn reads(scale: Scale, target: &Target) -> Result<()> {
    let one = format!("{MAPS}/b1-0-0");
    let bare = run(target, 64, scale.time, |_, _| request("GET", "/livez", "")).await?;
    let got = run(target, 64, scale.time, move |_, _| request("GET", &one, "")).await?;
    rate_row("get of one object, 64 clients", &got, "/livez, 64 clients", bare.rate);

    let namespace = json!({"metadata": {"name": "listed"}}).to_string();
    let mut line = target.open().await?;
    line.ask(&request("POST", "/api/v1/namespaces", &namespace)).await?;
    let account = json!({"metadata": {"name": "default"}}).to_string();
    line.ask(&request("POST", "/api/v1/namespaces/listed/serviceaccounts", &account)).await?;
    for number in 0..scale.listed {
        line.ask(&request("POST", "/api/v1/namespaces/listed/pods", &pod(&format!("p-{number}"), "l")))
            .await?;
    }
    let listed =
        run(target, 1, scale.time, |_, _| request("GET", "/api/v1/namespaces/listed/pods", "")).await?;
    let size = (listed.bytes / listed.rate) as usize;
    let bare = loopback(size).await?;
    row(
        &format!("list of {} pods, {:.1} MB", scale.listed, size as f64 / 1e6),
        format!("{:.0} MB/s", listed.bytes / 1e6),
        "the same over bare TCP",
        format!("{:.0} MB/s", bare / 1e6),
        format!("{:.2}", listed.bytes / bare),
    );
    Ok(())
}

async fn watches(scale: Scale, target: &Target) -> Result<()> {
    let mut writer = target.open().await?;
    let namespace = json!({"metadata": {"name": "watched"}}).to_string();
    writer.ask(&request("POST", "/api/v1/namespaces", &namespace)).await?;
    let path = "/api/v1/namespaces/watched/configmaps";
    let mut lines = Vec::new();
    for _ in 0..scale.watchers {
        let mut line = target.open().await?;
        line.follow(&request("GET", &format!("{path}?watch=true"), "")).await?;
        lines.push(line);
    }
    let mut times = Vec::new();
    for number in 0..9 {
        let started = Instant::now();
        let waiting = lines
            .into_iter()
            .map(|mut line| tokio::spawn(async move { line.more().await.map(|()| (line, Instant::now())) }));
        let waiting: Vec<_> = waiting.collect();
        let body = json!({"metadata": {"name": format!("w{number}")}}).to_string();
        let started = started.max(Instant::now());
        writer.ask(&request("POST", path, &body)).await?;
        let (mut last, mut back) = (started, Vec::new());
        for task in waiting {
            let (line, heard) = task.await??;
            last = last.max(heard);
            back.push(line);
        }
        times.push(last - started);
        lines = back;
    }
    times.sort();
    row(
        &format!("one change to {} watchers, the last", scale.watchers),
        format!("{:.1} ms", times[times.len() / 2].as_secs_f64() * 1e3),
        "goal",
        "15 ms".into(),
        String::new(),
    );
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

/// Bytes in a second that go through a connection without encryption, some of them for each byte that comes back.
async fn loopback(size: usize) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let bytes = vec![7; size];
        while stream.read_u8().await.is_ok() {
            stream.write_all(&bytes).await?;
        }
        anyhow::Ok(())
    });
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = vec![0; size];
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(1) {
        stream.write_u8(1).await?;
        stream.read_exact(&mut bytes).await?;
        count += size;
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    drop(stream);
    server.await??;
    Ok(rate)
}
