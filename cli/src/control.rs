//! Orders to a running cluster: one JSON line over a Unix socket in the cluster's folder, one JSON line back.
//!
//! Who may open the folder (mode 0700) may give orders; nothing listens on the network for them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, NodeSpec};

/// What can be asked of a running cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Asks for the cluster's status.
    Status,
    /// Start an agent for a new node.
    NodeAdd {
        /// The node.
        node: NodeSpec,
    },
    /// Start the agent of a node that was stopped or killed.
    NodeStart {
        /// Its name.
        name: String,
    },
    /// End a node's agent; its containers go on.
    NodeStop {
        /// Its name.
        name: String,
    },
    /// A power cut: the agent and every container of the node vanish.
    NodeKill {
        /// Its name.
        name: String,
    },
    /// End the process in good order.
    Stop,
}

/// What a running cluster says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, and what there is to say about it.
    Done(String),
    /// Not done, and why.
    Failed(String),
    /// The answer to [`Order::Status`].
    Status(Running),
}

/// A running cluster, as it sees itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Of the process.
    pub pid: u32,
    /// Of the API server.
    pub address: String,
    /// Names of the nodes whose agents run.
    pub agents: Vec<String>,
}

/// An order with the way back for its reply.
pub type Ordered = (Order, oneshot::Sender<Reply>);

/// An order is a few hundred bytes; more is no order.
const MOST_BYTES: u64 = 64 * 1024;
/// Killing a node waits for Docker to remove its containers, adding one until it is Ready.
const REPLY_WITHIN: Duration = Duration::from_secs(120);
/// Who it is, a cluster knows without asking anybody.
const STATUS_WITHIN: Duration = Duration::from_secs(3);

/// A path to a file in an open folder that is short, however long the folder's own path is. The kernel takes no address
/// of a Unix socket of more than 107 bytes.
fn short_path(path: &Path) -> Result<(File, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} names no file in a folder", path.display());
    };
    let open = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    let short = Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(name);
    Ok((open, short))
}

/// Listens in the cluster's folder until `stop`; orders go to `sink`, one at a time.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(cluster: &Cluster, sink: mpsc::Sender<Ordered>, stop: CancellationToken) -> Result<()> {
    let path = cluster.control_socket();
    // A socket left by a crash: we hold the cluster's lock, so nobody listens on it.
    let _ = std::fs::remove_file(&path);
    let (_folder, short) = short_path(&path)?;
    let listener =
        UnixListener::bind(short).with_context(|| format!("cannot listen on {}", path.display()))?;
    tokio::spawn(async move {
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let sink = sink.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(stream, sink).await {
                    tracing::debug!(%error, "control connection");
                }
            });
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, sink: mpsc::Sender<Ordered>) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MOST_BYTES));
    tokio::time::timeout(Duration::from_secs(10), reader.read_line(&mut line)).await??;
    let reply = match serde_json::from_str::<Order>(&line) {
        Err(error) => Reply::Failed(format!("not an order: {error}")),
        Ok(order) => {
            let (back, answer) = oneshot::channel();
            sink.send((order, back)).await?;
            answer.await.unwrap_or_else(|_| Reply::Failed("the cluster is going down".into()))
        }
    };
    writer.write_all(format!("{}\n", serde_json::to_string(&reply)?).as_bytes()).await?;
    Ok(())
}

/// Gives an order to a running cluster.
///
/// # Errors
/// The cluster does not run, does not answer, or says no.
pub async fn ask(cluster: &Cluster, order: Order) -> Result<Reply> {
    let stopped = || format!("cluster {} does not run; `coracle up --name {0}` starts it", cluster.name);
    let (_folder, short) = short_path(&cluster.control_socket()).with_context(stopped)?;
    let stream = UnixStream::connect(short).await.with_context(stopped)?;
    let (reader, mut writer) = stream.into_split();
    let within = if matches!(order, Order::Status) { STATUS_WITHIN } else { REPLY_WITHIN };
    writer.write_all(format!("{}\n", serde_json::to_string(&order)?).as_bytes()).await?;
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MOST_BYTES));
    tokio::time::timeout(within, reader.read_line(&mut line)).await.with_context(|| {
        format!("cluster {} does not answer; see {}", cluster.name, cluster.log().display())
    })??;
    match serde_json::from_str(&line).context("the cluster went away before it answered")? {
        Reply::Failed(why) => bail!(why),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn orders_arrive_and_replies_come_back() {
        orders_arrive("x").await;
    }

    /// The address of a Unix socket has 108 bytes.
    #[tokio::test]
    async fn a_folder_with_a_long_path_takes_orders_too() {
        orders_arrive(&"long".repeat(50)).await;
    }

    async fn orders_arrive(folder: &str) {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster { name: "x".into(), dir: dir.path().join(folder) };
        cluster.make_dir().unwrap();
        let (sink, mut orders) = mpsc::channel(1);
        let stop = CancellationToken::new();
        listen(&cluster, sink, stop.clone()).unwrap();
        tokio::spawn(async move {
            while let Some((order, back)) = orders.recv().await {
                let reply = match order {
                    Order::NodeKill { name } => Reply::Done(format!("killed {name}")),
                    _ => Reply::Failed("no".into()),
                };
                let _ = back.send(reply);
            }
        });
        let reply = ask(&cluster, Order::NodeKill { name: "node-1".into() }).await.unwrap();
        assert!(matches!(reply, Reply::Done(text) if text == "killed node-1"));
        assert_eq!(ask(&cluster, Order::Stop).await.unwrap_err().to_string(), "no");
        stop.cancel();
    }
}
