//! A load maker that costs little beside the server: HTTP/1.1 over kept-alive TLS, knowing no more of it than this
//! server needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coracle_client::kubeconfig::Credentials;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the server is, and who asks.
#[derive(Clone)]
pub struct Target {
    address: String,
    tls: TlsConnector,
    /// The server's process.
    pub pid: u32,
}

impl Target {
    pub fn new(credentials: &Credentials, pid: u32) -> Result<Target> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(credentials.ca.as_bytes())?)?;
        let certificate = CertificateDer::from_pem_slice(credentials.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes())?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        let address = credentials.server.trim_start_matches("https://").to_owned();
        Ok(Target { address, tls: Arc::new(config).into(), pid })
    }

    pub async fn open(&self) -> Result<Line> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
        Ok(Line { stream: self.tls.connect(name, tcp).await?, heard: Vec::with_capacity(1 << 16) })
    }
}

/// A request as bytes.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: bench/1\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One connection.
pub struct Line {
    stream: TlsStream<TcpStream>,
    heard: Vec<u8>,
}

impl Line {
    /// Sends a request and answers how long the body is that came back, which must be one of success.
    pub async fn ask(&mut self, request: &[u8]) -> Result<usize> {
        self.send(request).await?;
        let head = self.head().await?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let length: usize = length.context("no length")?.parse()?;
        self.body(length).await?;
        Ok(length)
    }

    /// Sends a request whose answer does not end, and waits for the answer's beginning.
    pub async fn follow(&mut self, request: &[u8]) -> Result<()> {
        self.send(request).await?;
        self.head().await.map(drop)
    }

    /// Waits until more of such an answer has come.
    pub async fn more(&mut self) -> Result<()> {
        self.heard.clear();
        ensure!(self.stream.read_buf(&mut self.heard).await? > 0, "the connection ended");
        Ok(())
    }

    async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.heard.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await.map_err(Into::into)
    }

    /// The head of the answer; what was heard after it stays.
    async fn head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.heard.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.heard[..end + 2]).into_owned();
                self.heard.drain(..end + 4);
                ensure!(head.starts_with("HTTP/1.1 2"), "{head}{}", String::from_utf8_lossy(&self.heard));
                return Ok(head);
            }
            ensure!(self.stream.read_buf(&mut self.heard).await? > 0, "the connection ended");
        }
    }

    async fn body(&mut self, length: usize) -> Result<()> {
        let mut left = length.saturating_sub(self.heard.len());
        while left > 0 {
            self.heard.clear();
            let read = self.stream.read_buf(&mut self.heard).await?;
            ensure!(read > 0, "the connection ended");
            left = left.saturating_sub(read);
        }
        Ok(())
    }
}

/// What a run of load came to.
pub struct Outcome {
    /// Answers in a second.
    pub rate: f64,
    /// Bytes of answers in a second.
    pub bytes: f64,
    /// Processor time of the server for one answer, in microseconds.
    pub server: f64,
    /// The same of the load maker.
    pub load: f64,
}

/// Keeps some clients busy for a while, each with one request after the other; `make` is told the client and its how-manieth
/// request it is.
pub async fn run(
    target: &Target,
    clients: usize,
    time: Duration,
    make: impl Fn(usize, usize) -> Vec<u8> + Send + Sync + 'static,
) -> Result<Outcome> {
    let make = Arc::new(make);
    let mut lines = Vec::new();
    for _ in 0..clients {
        lines.push(target.open().await?);
    }
    let (server, load, started) = (processor(target.pid)?, processor(std::process::id())?, Instant::now());
    let tasks: Vec<_> = lines
        .into_iter()
        .enumerate()
        .map(|(client, mut line)| {
            let make = make.clone();
            tokio::spawn(async move {
                let (mut count, mut bytes) = (0, 0);
                while started.elapsed() < time {
                    bytes += line.ask(&make(client, count)).await?;
                    count += 1;
                }
                anyhow::Ok((count, bytes))
            })
        })
        .collect();
    let (mut count, mut bytes) = (0, 0);
    for task in tasks {
        let done = task.await??;
        count += done.0;
        bytes += done.1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
    Ok(Outcome {
        rate: count as f64 / seconds,
        bytes: bytes as f64 / seconds,
        server: each(processor(target.pid)? - server),
        load: each(processor(std::process::id())? - load),
    })
}

/// Processor time that a process has used.
fn processor(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Of 100 in a second, as Linux has shown them to programs for thirty years.
    let ticks: u64 = fields.get(11..13).context("no times")?.iter().map(|t| t.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
