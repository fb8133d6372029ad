//! `coracle apiserver`, `controllers`, `scheduler` and `agent`: one component in one process, over TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coracle_apiserver::{Config, Server};
use coracle_client::kubeconfig::Credentials;
use coracle_client::{Checks, Informers};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::assembly;
use crate::cluster::{Cluster, NodeSpec, Runtime, Selection, Timing, write_whole};
use crate::health;
use crate::size::NodeSize;
use crate::store::StoreArgs;

/// How long a component may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Run an API server by itself. It writes DIR/kubeconfig and serves until Ctrl-C.
///
/// For the other components it writes DIR/controllers.kubeconfig and DIR/scheduler.kubeconfig, and for new nodes
/// DIR/join-token and DIR/ca.crt.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle apiserver --data-dir /tmp/c --port 6443
  kubectl --kubeconfig /tmp/c/kubeconfig create configmap hello --from-literal=a=b
  coracle apiserver --data-dir /tmp/d --port 6444 --pki-dir /tmp/pki --store etcd --etcd-endpoints http://127.0.0.1:2379")]
pub struct ApiServer {
    /// Port to listen on; 0 takes any
    #[arg(long, default_value_t = 6443, value_name = "P")]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    bind: IpAddr,
    /// Let requests without credentials in as system:anonymous, who may do next to nothing, instead of answering 401
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    anonymous_auth: bool,
    /// How long events are kept after they were last written
    #[arg(long, value_name = "TIME", value_parser = crate::print::time::duration, default_value = "1h")]
    event_ttl: Duration,
    /// Address under which others reach it, where it listens on all
    #[arg(long, value_name = "IP")]
    advertise_address: Option<IpAddr>,
    /// Folder of the certificate authority, in place of DIR/pki; servers that share a store share it
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
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
        let listen = SocketAddr::new(self.bind, self.port);
        let config = Config {
            anonymous_auth: self.anonymous_auth,
            event_ttl: self.event_ttl,
            advertise: self.advertise_address,
            pki_dir: self.pki_dir.clone(),
            ..Config::new(&cluster.dir, listen)
        };
        let server = match self.store.shared(&config)? {
            Some(store) => Server::start_on(config, store).await?,
            None => Server::start(config).await?,
        };
        write_credentials(&cluster, &server)?;
        tracing::info!(address = %server.address(), kubeconfig = %cluster.kubeconfig().display(), "serving");
        let ended = tokio::select! {
            ended = until_signal() => ended,
            why = server.broken() => Err(assembly::store_broken(&why)),
        };
        let _ = tokio::time::timeout(END_WITHIN, server.shutdown()).await;
        ended
    }
}

/// What the other components need to come in: each its own identity, and a token for nodes that have none yet.
fn write_credentials(cluster: &Cluster, server: &Server) -> Result<()> {
    let url = server.url();
    let pki = server.pki();
    for (file, user) in
        [("controllers", "system:kube-controller-manager"), ("scheduler", "system:kube-scheduler")]
    {
        let credentials = pki.credentials(url, user, None)?;
        let path = cluster.dir.join(format!("{file}.kubeconfig"));
        write_whole(&path, credentials.to_kubeconfig(user).as_bytes())?;
    }
    write_whole(&cluster.dir.join("ca.crt"), pki.ca().as_bytes())?;
    let token = cluster.dir.join("join-token");
    let known = std::fs::read_to_string(&token).unwrap_or_default();
    if !pki.is_bootstrap_token(known.trim()) {
        write_whole(&token, pki.make_bootstrap_token(None)?.as_bytes())?;
    }
    Ok(())
}

fn read_credentials(path: &Path) -> Result<Credentials> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Credentials::from_kubeconfig(&text).with_context(|| format!("in {}", path.display()))
}

/// Runs a component until it ends or the process gets a signal to.
async fn run_until_signal(
    component: impl Future<Output = Result<()>>,
    stop: CancellationToken,
) -> Result<()> {
    tokio::pin!(component);
    tokio::select! {
        outcome = &mut component => return outcome,
        ended = until_signal() => ended?,
    }
    stop.cancel();
    match tokio::time::timeout(END_WITHIN, component).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("it did not end within {} s", END_WITHIN.as_secs()),
    }
}

/// How a component can be asked whether it is well.
#[derive(Clone, Debug, clap::Args)]
struct Health {
    /// Where /livez, /readyz and /healthz are answered, over plain HTTP; without it nobody listens
    #[arg(long, value_name = "IP:PORT")]
    healthz_bind_address: Option<SocketAddr>,
}

impl Health {
    async fn serve(&self, informers: Informers, stop: &CancellationToken) -> Result<()> {
        let Some(address) = self.healthz_bind_address else { return Ok(()) };
        let checks = Checks::new();
        // Upstream's name.
        checks.ready("informer-sync", move || informers.health());
        let address = health::serve(address, checks, stop.clone()).await?;
        tracing::info!(%address, "answers whether it is well");
        Ok(())
    }
}

/// Run the controllers by themselves, against an API server elsewhere.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  coracle controllers --kubeconfig /tmp/c/controllers.kubeconfig")]
pub struct Controllers {
    /// Credentials, as `coracle apiserver` wrote them
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// How patient they are with nodes that do not answer
    #[arg(long, value_enum, default_value_t = Timing::Kubernetes)]
    timing: Timing,
    #[command(flatten)]
    health: Health,
}

impl Controllers {
    /// Runs the command.
    ///
    /// # Errors
    /// Credentials that cannot be read.
    pub async fn run(self) -> Result<()> {
        let credentials = read_credentials(&self.kubeconfig)?;
        let stop = CancellationToken::new();
        let running = assembly::remote_controllers(&credentials, self.timing, stop.clone())?;
        self.health.serve(running.informers, &stop).await?;
        run_until_signal(async { Ok(running.task.await?) }, stop).await
    }
}

/// Run the scheduler by itself, against an API server elsewhere.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle scheduler --kubeconfig /tmp/c/scheduler.kubeconfig
  coracle scheduler --kubeconfig /tmp/c/scheduler.kubeconfig --config policy.yaml

A policy file:
  profile: mine
  profiles:
    mine: {Packed: 2, ImageLocality: 1}")]
pub struct Scheduler {
    /// Credentials, as `coracle apiserver` wrote them
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Profile and weights; without it bin-pack
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    health: Health,
}

impl Scheduler {
    /// Runs the command.
    ///
    /// # Errors
    /// Credentials that cannot be read, or a policy that does not exist.
    pub async fn run(self) -> Result<()> {
        let credentials = read_credentials(&self.kubeconfig)?;
        let config = match &self.config {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                serde_saphyr::from_str(&text).with_context(|| format!("in {}", file.display()))?
            }
            None => coracle_scheduler::Config::default(),
        };
        let stop = CancellationToken::new();
        let running = assembly::remote_scheduler(&credentials, &config, stop.clone())?;
        self.health.serve(running.informers, &stop).await?;
        run_until_signal(async { Ok(running.task.await?) }, stop).await
    }
}

/// Run the agent of one node by itself: it joins with a token, then keeps its certificate in --data-dir.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:
  coracle agent --node worker-1 --server https://10.0.0.1:6443 --ca ca.crt --token-file join-token \\
      --name prod --data-dir /var/lib/coracle")]
pub struct AgentArgs {
    /// Name of the node
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Address of the API server; of several on one store repeat it or give a list: where one is away the next is asked
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    server: Vec<String>,
    /// The cluster's certificate authority, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// A file with a bootstrap token; needed the first time
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What the node offers
    #[arg(long, default_value_t, value_name = "SIZE")]
    size: NodeSize,
    /// Label topology.kubernetes.io/zone
    #[arg(long)]
    zone: Option<String>,
    /// What runs the containers
    #[arg(long, value_enum, default_value_t)]
    runtime: Runtime,
    /// How often it reports
    #[arg(long, value_enum, default_value_t = Timing::Kubernetes)]
    timing: Timing,
}

impl AgentArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// The node cannot join, or its files cannot be kept.
    pub async fn run(self, selection: &Selection) -> Result<()> {
        let cluster = selection.to_make()?;
        let node = NodeSpec { zone: self.zone.clone(), ..NodeSpec::new(&self.node, self.size.clone()) };
        node.check()?;
        cluster.make_dir()?;
        let credentials = self.credentials(&cluster).await?;
        let stop = CancellationToken::new();
        let agent =
            assembly::remote_agent(&cluster, &node, self.timing, self.runtime, &credentials, stop.clone());
        run_until_signal(agent, stop).await
    }

    /// The node's certificate: kept from an earlier run, or bought with the token.
    async fn credentials(&self, cluster: &Cluster) -> Result<Credentials> {
        let kept = cluster.dir.join(format!("node-{}.kubeconfig", self.node));
        if kept.exists() {
            return Ok(Credentials { server: self.server.join(","), ..read_credentials(&kept)? });
        }
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let Some(token) = &self.token_file else {
            bail!(
                "{} has no certificate yet; join with --token-file (DIR/join-token of the API server)",
                self.node
            );
        };
        let credentials = coracle_client::join::join(
            &self.server.join(","),
            &read(&self.ca)?,
            &self.node,
            read(token)?.trim(),
        )
        .await?;
        // A kubeconfig names one server; the agent is told which there are at each start.
        let first = self.server.first().cloned().unwrap_or_default();
        let file = Credentials { server: first, ..credentials.clone() };
        write_whole(&kept, file.to_kubeconfig(&format!("system:node:{}", self.node)).as_bytes())?;
        Ok(credentials)
    }
}

/// Returns at Ctrl-C or SIGTERM.
pub async fn until_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
