//! `coracle logs`.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::AsyncReadExt;
use serde_json::Value;

use super::kinds::{Catalogue, one};
use super::rest::escape;
use super::select;
use crate::connection::{Connection, Target};

/// Show what a container wrote.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle logs web-0                     a pod
  coracle logs deployment/web -f         one pod of a deployment, as it goes on
  coracle logs web-0 -c proxy --previous the run before the last restart")]
pub struct Logs {
    /// A pod, or KIND/NAME of what has pods
    what: String,
    /// Which container
    #[arg(long, short)]
    container: Option<String>,
    /// Go on showing what comes
    #[arg(long, short)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Of the run before the last restart
    #[arg(long, short)]
    previous: bool,
    /// The time of each line
    #[arg(long)]
    timestamps: bool,
    /// Only what is younger, such as 10m
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    since: Option<Duration>,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server says no, or the stream breaks off.
pub async fn run(args: Logs, connection: &Connection) -> Result<()> {
    let pod = pod(&args.what, connection).await?;
    let mut query = vec![format!("follow={}", args.follow)];
    let mut add = |name: &str, value: Option<String>| query.extend(value.map(|v| format!("{name}={v}")));
    add("container", args.container.as_deref().map(escape));
    add("tailLines", args.tail.map(|n| n.to_string()));
    add("previous", args.previous.then(|| "true".into()));
    add("timestamps", args.timestamps.then(|| "true".into()));
    add("sinceSeconds", args.since.map(|s| s.as_secs().to_string()));
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", connection.namespace, query.join("&"));
    let mut stream = Box::pin(connection.stream(&path, "*/*").await?);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        if out.write_all(&buffer[..read]).and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
}

/// The pod that is meant: named, or the youngest of those that an object selects.
async fn pod(what: &str, connection: &Connection) -> Result<String> {
    let Some((kind, name)) = what.split_once('/') else { return Ok(what.into()) };
    if matches!(kind, "pod" | "pods" | "po") {
        return Ok(name.into());
    }
    let catalogue = Catalogue::fetch(connection).await?;
    let (kind, name) = one(&catalogue, &[what.to_string()])?;
    let object = connection.get(&kind.path(&connection.namespace, &name)).await?;
    let Some(labels) = select(&object) else { bail!("{what} selects no pods; name a pod") };
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={}", connection.namespace, escape(&labels));
    let list = connection.get(&path).await?;
    let pods: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    let running = |p: &&&Value| p["status"]["phase"] == "Running";
    let chosen = pods
        .iter()
        .filter(running)
        .max_by_key(|p| p["metadata"]["creationTimestamp"].as_str())
        .or(pods.first());
    match chosen.and_then(|p| p["metadata"]["name"].as_str()) {
        Some(name) => {
            if pods.len() > 1 {
                eprintln!("Found {} pods, using pod/{name}", pods.len());
            }
            Ok(name.into())
        }
        None => bail!("{what} has no pods; `coracle describe {what}` may say why"),
    }
}
