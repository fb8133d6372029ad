//! Puts store, registry, faces and listener together; ends them in order.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::clock::Clock;
use coracle_client::{Checks, Client};
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::authenticate::Authenticator;
use crate::auth::authorize::Authorizer;
use crate::auth::lookup::Lookup;
use crate::connections::{Connections, Limits};
use crate::faces::Faces;
use crate::identity::{Identity, MASTERS, field_manager_of};
use crate::lines::Lines;
use crate::listener::Listener;
use crate::local::LocalClient;
use crate::peers::SERVER_USER;
use crate::peers::announce::{self, Announced, others};
use crate::peers::ask::Peers;
use crate::pki::{Pki, PkiError};
use crate::registry::Registry;
use crate::rest::app::App;
use crate::rest::metrics;
use crate::store::{Bounds, Embedded, Store, StoreError};
use crate::verdicts::Verdicts;
use crate::write::{bootstrap, expiry};

/// How long open connections get to finish at shutdown; watches never do by themselves.
const DRAIN: Duration = Duration::from_millis(500);
/// How often history is looked through for what is too old.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Holds `data` (the store), `pki` and `kubeconfig`.
    pub data_dir: PathBuf,
    /// Holds the authority and what else vouches for people and nodes, in place of `pki`. Servers that share a store share it.
    pub pki_dir: Option<PathBuf>,
    /// The address under which others find this server, where it listens on all.
    pub advertise: Option<IpAddr>,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Stamps objects and measures ages.
    pub clock: Clock,
    /// How much of the change log is kept.
    pub bounds: Bounds,
    /// More names and addresses under which clients reach it.
    pub names: Vec<String>,
    /// Whether requests without credentials are those of `system:anonymous`, rather than refused.
    pub anonymous_auth: bool,
    /// How long events are kept after they were last written.
    pub event_ttl: Duration,
    /// How many connections there may be.
    pub limits: Limits,
}

/// How long events are kept unless told otherwise: as long as upstream keeps them.
pub const EVENT_TTL: Duration = Duration::from_secs(3600);

impl Config {
    /// The defaults for a directory.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Config {
        Config {
            data_dir: data_dir.into(),
            pki_dir: None,
            advertise: None,
            listen,
            clock: Clock::system(),
            bounds: Bounds::default(),
            names: Vec::new(),
            anonymous_auth: false,
            event_ttl: EVENT_TTL,
            limits: Limits::default(),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] PkiError),
    /// Another server on the same store trusts another authority.
    #[error(
        "the API server at {address} has another certificate authority; servers that share a store share one (--pki-dir)"
    )]
    Authority {
        /// The other server.
        address: String,
    },
    /// Anything else that the operating system refuses.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running API server.
pub struct Server {
    address: SocketAddr,
    url: String,
    registry: Arc<Registry>,
    verdicts: Arc<Verdicts>,
    authorizer: Authorizer,
    lines: Lines,
    peers: Peers,
    pki: Arc<Pki>,
    checks: Checks,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the store, prepares the certificates and listens. Returns when it does.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let store = Embedded::new(config.data_dir.join("data"), config.bounds, config.clock.clone());
        Server::start_on(config, Box::new(store)).await
    }

    /// The same with another store.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_on(config: Config, store: Box<dyn Store>) -> Result<Server, StartError> {
        let io = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| StartError::Io { path, source }
        };
        std::fs::create_dir_all(&config.data_dir).map_err(io(&config.data_dir))?;
        let registry = Registry::open(store, config.bounds, config.clock.clone()).await?;
        let cannot_listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let pki_dir = config.pki_dir.clone().unwrap_or_else(|| config.data_dir.join("pki"));
        let pki = Arc::new(Pki::open(&pki_dir, config.clock.clone())?);
        registry.sign_tokens_with(pki.accounts().clone());
        let mut names = config.names.clone();
        names.extend([address.ip()].into_iter().chain(config.advertise).map(|ip| ip.to_string()));
        let tls = pki.server_config(&names)?;
        let kubeconfig = config.data_dir.join("kubeconfig");
        let url = url(config.advertise, address);
        pki.write_kubeconfig(&kubeconfig, &url)?;
        registry.ensure_system_objects(address).await;
        registry.correct_service(address).await;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let peers = if registry.is_shared() {
            let own = Announced::new(&url, pki.ca());
            let strange = |other: &Announced| other.authority != own.authority;
            if let Some(other) = others(&registry, &own).into_iter().find(strange) {
                registry.close().await;
                return Err(StartError::Authority { address: other.address });
            }
            let credentials = pki.credentials(&url, SERVER_USER, Some(MASTERS))?;
            tasks.spawn(announce::run(registry.clone(), own.clone(), stop.clone()));
            Peers::new(registry.clone(), own, credentials)
        } else {
            Peers::default()
        };
        let verdicts = Arc::new(Verdicts::default());
        let lines = Lines::default();
        let objects: Arc<dyn Lookup> = registry.clone();
        let authorizer = Authorizer::new(objects.clone());
        let checks = checks(&registry);
        let rest = App {
            body_time: config.limits.body,
            registry: registry.clone(),
            verdicts: verdicts.clone(),
            authenticator: Authenticator::new(pki.accounts().clone(), objects, config.anonymous_auth),
            authorizer: authorizer.clone(),
            lines: lines.clone(),
            peers: peers.clone(),
            stop: stop.clone(),
            checks: checks.clone(),
            metrics: metrics::Metrics::default(),
            openapi: crate::discovery::OpenApi::default(),
        };
        let faces = Faces::new(rest, pki.clone());
        tasks.spawn(forget(registry.clone(), stop.clone()));
        tasks.spawn(bootstrap::keep_system_objects(registry.clone(), address, stop.clone()));
        let event_ttl = SignedDuration::try_from(config.event_ttl).unwrap_or(SignedDuration::MAX);
        tasks.spawn(expiry::run(registry.clone(), event_ttl, stop.clone()));
        let listener = Listener {
            listener,
            tls: TlsAcceptor::from(tls),
            faces,
            connections: Connections::new(config.limits),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(listener.accept());
        Ok(Server { address, url, registry, verdicts, authorizer, lines, peers, pki, checks, stop, tasks })
    }

    /// A client in this process that acts as `user`.
    pub fn client(&self, user: &str, groups: &[&str]) -> Arc<dyn Client> {
        let identity = Identity::new(user, groups);
        let user_agent = field_manager_of(&identity);
        let (registry, verdicts) = (self.registry.clone(), self.verdicts.clone());
        Arc::new(LocalClient::new(registry, verdicts, self.authorizer.clone(), identity, user_agent))
    }

    /// Certificates, bootstrap tokens and tokens of service accounts.
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// The way to the nodes' agents; also an agent's way here, within the process.
    pub fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Whether the server is well. Components in its own process add what they have to know to be ready.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The way to the other servers on the same store.
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// Why each pod is where it is.
    pub fn verdicts(&self) -> &Arc<Verdicts> {
        &self.verdicts
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where others find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it serves.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Comes back, with what happened, only if the store has broken: then the process must end, in order and at once.
    pub async fn broken(&self) -> String {
        self.registry.broken().await
    }

    /// Lets open requests finish for a moment, then closes the store. Nothing acknowledged is lost either way.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
        self.registry.close().await;
    }
}

/// Lets go of old history whether anything is written or not.
async fn forget(registry: Arc<Registry>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        registry.age();
    }
}

/// What has to hold for the server to be well, in the order in which it is reported.
pub(crate) fn checks(registry: &Arc<Registry>) -> Checks {
    let (checks, registry) = (Checks::new(), registry.clone());
    // Upstream's names. `log` is upstream's check of its own logging; it cannot fail here, but clients ask for it by name.
    checks.live("log", || Ok(()));
    checks.live("store", move || registry.health());
    checks
}

/// Where clients find the server. `0.0.0.0` means all addresses of the machine, and is none that a client can use.
fn url(advertise: Option<IpAddr>, address: SocketAddr) -> String {
    let here = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
    let ip = advertise.unwrap_or(here);
    format!("https://{}", SocketAddr::new(ip, address.port()))
}
