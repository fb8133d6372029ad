//! The API server alone: `cargo run -p coracle-apiserver --example serve -- DIR PORT`.

use coracle_apiserver::{Config, Server};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "/tmp/coracle".into());
    let port: u16 = arguments.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    match Server::start(Config::new(dir, ([127, 0, 0, 1], port).into())).await {
        Ok(server) => {
            println!("https://{}", server.address());
            let _ = tokio::signal::ctrl_c().await;
            server.shutdown().await;
        }
        Err(error) => eprintln!("{error}"),
    }
}
