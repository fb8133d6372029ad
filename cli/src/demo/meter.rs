//! A request meter: asks the ready pods of an application in turn, without pause, and counts what fails.
//!
//! It balances as a service mesh's client does: it follows the pods by a watch and asks only those that are Ready and not
//! going away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A request that takes longer has failed.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// Between two requests: some hundred a second are enough to notice a gap of a few milliseconds.
const PAUSE: Duration = Duration::from_millis(4);

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// A running meter.
pub struct Meter {
    counts: Arc<Counts>,
    last_failure: Arc<parking::Text>,
    answers: Arc<parking::Tally>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// The outcome of a meter.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// How the last of them failed.
    pub last_failure: Option<String>,
    /// How many answers each version gave.
    pub versions: BTreeMap<String, u64>,
}

/// Small shared cells: touched for a moment, never across an await.
mod parking {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    pub type Text = Mutex<Option<String>>;
    pub type Tally = Mutex<BTreeMap<String, u64>>;
}

impl Meter {
    /// Starts to ask `path` on `port` of the pods with these labels.
    ///
    /// # Errors
    /// The pods cannot be listed.
    pub async fn start(pods: Api<Pod>, labels: &str, port: u16, path: &'static str) -> Result<Meter> {
        let stop = CancellationToken::new();
        let (sink, targets) = watch::channel(Vec::new());
        let follower = follow(pods, labels.to_owned(), sink).await?;
        let meter = Meter {
            counts: Arc::default(),
            last_failure: Arc::default(),
            answers: Arc::default(),
            stop: stop.clone(),
            tasks: Vec::new(),
        };
        let (counts, failures, answers) =
            (meter.counts.clone(), meter.last_failure.clone(), meter.answers.clone());
        let following = stop.clone();
        let tasks = vec![
            tokio::spawn(async move {
                following.run_until_cancelled(follower).await;
            }),
            tokio::spawn(async move {
                let mut turn = 0_usize;
                while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
                    let target = {
                        let targets = targets.borrow();
                        if targets.is_empty() { None } else { Some(targets[turn % targets.len()].clone()) }
                    };
                    turn = turn.wrapping_add(1);
                    counts.sent.fetch_add(1, Ordering::Relaxed);
                    let answer = match &target {
                        Some(host) => ask(host, port, path).await,
                        None => Err(anyhow::anyhow!("no pod was ready")),
                    };
                    match answer {
                        Ok(body) => {
                            *answers.lock().unwrap_or_else(|e| e.into_inner()).entry(body).or_default() += 1;
                        }
                        Err(error) => {
                            counts.failed.fetch_add(1, Ordering::Relaxed);
                            let text = format!("{}: {error:#}", target.unwrap_or_default());
                            *failures.lock().unwrap_or_else(|e| e.into_inner()) = Some(text);
                        }
                    }
                }
            }),
        ];
        Ok(Meter { tasks, ..meter })
    }

    /// Ends the meter and tells what it counted.
    pub async fn finish(self) -> Outcome {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        Outcome {
            sent: self.counts.sent.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
            last_failure: self.last_failure.lock().unwrap_or_else(|e| e.into_inner()).take(),
            versions: std::mem::take(&mut self.answers.lock().unwrap_or_else(|e| e.into_inner())),
        }
    }
}

/// Keeps the addresses of the pods that may be asked in `sink`. Returns once the first list is in.
async fn follow(
    pods: Api<Pod>,
    labels: String,
    sink: watch::Sender<Vec<String>>,
) -> Result<impl Future<Output = ()>> {
    let list = pods.list(&kube::api::ListParams::default().labels(&labels)).await?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    let mut known: BTreeMap<String, Pod> = list.items.into_iter().map(|pod| (pod.name_any(), pod)).collect();
    let _ = sink.send(askable(&known));
    Ok(async move {
        loop {
            let Ok(stream) = pods.watch(&WatchParams::default().labels(&labels), &version).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let mut stream = stream.boxed();
            while let Ok(Some(event)) = stream.try_next().await {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        version = pod.resource_version().unwrap_or_default();
                        known.insert(pod.name_any(), pod);
                    }
                    WatchEvent::Deleted(pod) => {
                        version = pod.resource_version().unwrap_or_default();
                        known.remove(&pod.name_any());
                    }
                    _ => continue,
                }
                let _ = sink.send(askable(&known));
            }
        }
    })
}

/// Addresses of the pods that are Ready and stay.
fn askable(pods: &BTreeMap<String, Pod>) -> Vec<String> {
    pods.values()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && super::pods::is_ready(pod))
        .filter_map(|pod| pod.status.as_ref()?.pod_ip.clone())
        .collect()
}

/// One request on a connection of its own; the body of a good answer.
async fn ask(host: &str, port: u16, path: &str) -> Result<String> {
    let request = async {
        let mut stream = TcpStream::connect((host, port)).await.context("connect")?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.context("send")?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer).await.context("receive")?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        anyhow::ensure!(status == "200", "status {status}");
        Ok(body.trim().to_owned())
    };
    tokio::time::timeout(REQUEST_WITHIN, request).await.context("no answer in time")?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: &str, going: bool) -> (String, Pod) {
        let mut pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name},
            "status": {"podIP": format!("ip-of-{name}"), "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap();
        if going {
            pod.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        }
        (name.into(), pod)
    }

    #[test]
    fn only_ready_pods_that_stay_are_asked() {
        let pods =
            BTreeMap::from([pod("a", "True", false), pod("b", "False", false), pod("c", "True", true)]);
        assert_eq!(askable(&pods), ["ip-of-a"]);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_200_is_a_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in ["HTTP/1.1 200 OK\r\n\r\nv1", "HTTP/1.1 503 No\r\n\r\n", ""] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(ask("127.0.0.1", port, "/").await.unwrap(), "v1");
        assert_eq!(ask("127.0.0.1", port, "/").await.unwrap_err().to_string(), "status 503");
        assert_eq!(ask("127.0.0.1", port, "/").await.unwrap_err().to_string(), "half an answer");
    }
}
