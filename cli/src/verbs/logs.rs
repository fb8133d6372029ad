//! `coracle logs`: what a container of a pod wrote; of a workload, of its best pod: a Ready one before others.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::AsyncReadExt;
use serde_json::Value;

use crate::print::remark;
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, one};
use crate::server::rest::escape;
use crate::server::selector::select;

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
    #[arg(long, value_name = "TIME", value_parser = crate::print::time::duration)]
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

/// The pod that is meant: named, or the best of those that an object selects.
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
    let chosen = pods.iter().max_by_key(|pod| rank(pod));
    match chosen.and_then(|p| p["metadata"]["name"].as_str()) {
        Some(name) => {
            if pods.len() > 1 {
                remark!("Found {} pods, using pod/{name}", pods.len());
            }
            Ok(name.into())
        }
        None => bail!("{what} has no pods; `coracle describe {what}` may say why"),
    }
}

/// How good a pod is to look at: one that is Ready before one that runs, one that stays before one that is ending, and
/// then the youngest.
fn rank(pod: &Value) -> (bool, bool, bool, Option<&str>) {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|c| c["type"] == "Ready" && c["status"] == "True");
    let stays = pod["metadata"]["deletionTimestamp"].is_null();
    (stays, ready, pod["status"]["phase"] == "Running", pod["metadata"]["creationTimestamp"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_pod_that_says_most_is_shown() {
        let pod = |created: &str, phase: &str, ready: &str, deleted: Value| {
            json!({
                "metadata": { "creationTimestamp": created, "deletionTimestamp": deleted },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
            })
        };
        let from_worst_to_best = [
            pod("4", "Running", "True", json!("5")),
            pod("3", "Pending", "False", Value::Null),
            pod("3", "Running", "False", Value::Null),
            pod("1", "Running", "True", Value::Null),
            pod("2", "Running", "True", Value::Null),
        ];
        assert!(from_worst_to_best.is_sorted_by_key(rank));
    }
}
