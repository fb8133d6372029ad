//! The demo application: a small HTTP server that can be made slow, unready or dead.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a line with version and host |
//! | `/version` | the version |
//! | `/health/live` | 200 |
//! | `/health/ready` | 200 once ready, 503 before, while draining, and when it was made to fail |
//! | `/health/fail?ready=true` or `false` | makes it fail from now on, or not any more |
//! | `/env` | its environment |
//! | `/work?ms=100` | answers after that long |
//! | `/crash` | ends the process with code 1 |
//!
//! Settings in the environment: `PORT` (3000), `DEMO_VERSION`, `DEMO_READY_DELAY_MS` (0), `DEMO_FAIL_READY` (false),
//! `DEMO_DRAIN_MS` (1000). At SIGTERM it says that it is not ready, serves on for the drain, and ends with 0. It writes a
//! line for its start, its end and each request, probes aside: something for `logs` to show.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long requests under way may take once nothing new is accepted.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

struct App {
    version: String,
    ready_at: Instant,
    fails: AtomicBool,
    draining: AtomicBool,
}

/// Serves until SIGTERM.
///
/// # Errors
/// The port is taken, or signals cannot be heard.
pub fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(serve())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn serve() -> std::io::Result<()> {
    let app = Arc::new(App {
        version: std::env::var("DEMO_VERSION").unwrap_or_else(|_| "dev".into()),
        ready_at: Instant::now() + Duration::from_millis(setting("DEMO_READY_DELAY_MS", 0)),
        fails: AtomicBool::new(std::env::var("DEMO_FAIL_READY").is_ok_and(|text| text == "true")),
        draining: AtomicBool::new(false),
    });
    let port = u16::try_from(setting("PORT", 3000)).map_err(std::io::Error::other)?;
    let listener = listen(port).await?;
    log(format_args!("version {} listens on port {port}", app.version));
    let graceful = GracefulShutdown::new();
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut int = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let drained = async {
        tokio::select! {
            biased;
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        app.draining.store(true, Ordering::Relaxed);
        let drain = Duration::from_millis(setting("DEMO_DRAIN_MS", 1000));
        log(format_args!("told to end: not ready from now on, serving for another {drain:?}"));
        tokio::time::sleep(drain).await;
    };
    tokio::pin!(drained);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut drained => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = stream else { continue };
        let app = app.clone();
        let service = service_fn(move |request| answer(app.clone(), request));
        let connection = Builder::new(hyper_util::rt::TokioExecutor::new());
        let connection = connection.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error says that the client hung up in the middle of a request.
            let _ = connection.await;
        });
    }
    let _ = tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await;
    log(format_args!("ended"));
    Ok(())
}

/// Writes a line. If nobody reads the output any more, the program goes on.
fn log(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Listens on all addresses; on machines without IPv6, on all of IPv4.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await,
    }
}

async fn answer(app: Arc<App>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let (status, text) = match request.uri().path() {
        "/" => (StatusCode::OK, format!("Hello from {host}, version {}\n", app.version)),
        "/version" => (StatusCode::OK, format!("{}\n", app.version)),
        "/health/live" => (StatusCode::OK, "alive\n".into()),
        "/health/ready" => match app.unready() {
            None => (StatusCode::OK, "ready\n".into()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/health/fail" => {
            let fails = parameter("ready") != Some("false");
            app.fails.store(fails, Ordering::Relaxed);
            (StatusCode::OK, format!("readiness fails: {fails}\n"))
        }
        "/env" => {
            let mut all: Vec<String> =
                std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
            all.sort();
            (StatusCode::OK, all.concat())
        }
        "/work" => {
            let millis = parameter("ms").and_then(|text| text.parse().ok()).unwrap_or(100);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            (StatusCode::OK, format!("worked for {millis} ms\n"))
        }
        "/crash" => std::process::exit(1),
        _ => (StatusCode::NOT_FOUND, "not found\n".into()),
    };
    if !request.uri().path().starts_with("/health/") {
        log(format_args!("{} {} {}", request.method(), request.uri(), status.as_u16()));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

impl App {
    /// Why it does not want requests; `None` if it does.
    fn unready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        if self.fails.load(Ordering::Relaxed) {
            return Some("told to fail");
        }
        (Instant::now() < self.ready_at).then_some("starting")
    }
}
