//! `coracle apiserver` and its siblings: one component in one process, over TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Selection;
use crate::wire;

/// How long a component may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Run an API server by itself. It writes DIR/kubeconfig and serves until Ctrl-C.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle apiserver --data-dir /tmp/c --port 6443
  kubectl --kubeconfig /tmp/c/kubeconfig create configmap hello --from-literal=a=b")]
pub struct ApiServer {
    /// Port to listen on; 0 takes any
    #[arg(long, default_value_t = 6443, value_name = "P")]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    bind: IpAddr,
}

impl ApiServer {
    /// Runs the command.
    ///
    /// # Errors
    /// The server does not start.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = selection.to_make()?;
        cluster.make_dir()?;
        let Some(_lock) = cluster.lock()? else {
            bail!("another process uses {}", cluster.dir.display());
        };
        let server = wire::start_server(&cluster, SocketAddr::new(self.bind, self.port)).await?;
        tracing::info!(address = %server.address(), kubeconfig = %cluster.kubeconfig().display(), "serving");
        until_told_to_end().await?;
        let _ = tokio::time::timeout(END_WITHIN, server.shutdown()).await;
        Ok(())
    }
}

/// Returns at Ctrl-C or SIGTERM.
pub async fn until_told_to_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
