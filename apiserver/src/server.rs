//! Wires store, registry and faces together, and accepts connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::clock::Clock;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::Identity;
use crate::registry::Registry;
use crate::rest;
use crate::store::{Bounds, StoreError};
use crate::tls;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open connections get to finish at shutdown; watches never do by themselves.
const DRAIN: Duration = Duration::from_millis(500);

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Holds `data` (the store), `pki` and `kubeconfig`.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Stamps objects and measures ages.
    pub clock: Clock,
    /// How much of the change log is kept.
    pub bounds: Bounds,
}

impl Config {
    /// The defaults for a directory.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Config {
        Config { data_dir: data_dir.into(), listen, clock: Clock::system(), bounds: Bounds::default() }
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
    #[error("cannot prepare certificates in {dir}: {why}")]
    Certificates {
        /// Where.
        dir: PathBuf,
        /// Why.
        why: String,
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
    registry: Arc<Registry>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens the store, prepares the certificates and listens. Returns when it does.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let io = |path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| StartError::Io { path, source }
        };
        std::fs::create_dir_all(&config.data_dir).map_err(io(&config.data_dir))?;
        let data = config.data_dir.join("data");
        let registry = Registry::open(&data, config.bounds, config.clock.clone())?;
        let listening = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let pki = config.data_dir.join("pki");
        let tls = tls::prepare(&pki, &config.data_dir.join("kubeconfig"), address)
            .map_err(|error| StartError::Certificates { dir: pki, why: error.to_string() })?;
        registry.found_cluster(address).await;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let router = rest::router(registry.clone(), stop.clone());
        tasks.spawn(accept(listener, TlsAcceptor::from(tls), router, stop.clone(), tasks.clone()));
        Ok(Server { address, registry, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it serves.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// Lets open requests finish for a moment, then closes the store. Nothing acknowledged is lost either way.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
        self.registry.close().await;
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: axum::Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream, tls.clone(), router.clone(), stop.clone()));
            }
            Err(error) => {
                // Usually out of file descriptors: others must close some first.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, router: axum::Router, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    // Whoever shows a certificate of this cluster's CA is trusted; everybody else is nobody.
    let user = match stream.get_ref().1.peer_certificates() {
        Some(_) => Identity::new("kubernetes-admin", &["system:masters", "system:authenticated"]),
        None => Identity::new("system:anonymous", &["system:unauthenticated"]),
    };
    let router = router.layer(axum::Extension(user));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(3600));
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // A connection that breaks is the client's affair.
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(DRAIN, connection).await;
        }
    }
}
