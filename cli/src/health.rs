//! How a component that is a process of its own is asked whether it is well: `/livez`, `/readyz` and `/healthz` over plain HTTP, on the
//! address of `--healthz-bind-address`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_client::health::{Checks, Page, Question};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many may ask at once; the others wait until the kernel's queue is full.
const AT_ONCE: usize = 16;
/// How long a client may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Answers until `stop`. Returns the address, whose port may have been chosen by the kernel.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(address: SocketAddr, checks: Checks, stop: CancellationToken) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tokio::spawn(stop.run_until_cancelled_owned(accept(listener, checks)));
    Ok(address)
}

async fn accept(listener: TcpListener, checks: Checks) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most often there are too many open files: a moment later there may be fewer.
                tracing::debug!(%error, "cannot accept a question about health");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let checks = checks.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&checks, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Who hangs up or takes too long has no answer; nobody else is concerned.
            let _ = tokio::time::timeout(WITHIN, connection).await;
            drop(slot);
        });
    }
}

fn answer(checks: &Checks, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let query: Vec<&str> = request.uri().query().unwrap_or_default().split('&').collect();
    let excluded: Vec<&str> = query.iter().filter_map(|part| part.strip_prefix("exclude=")).collect();
    let verbose = query.iter().any(|part| part.split('=').next() == Some("verbose"));
    let mut path = request.uri().path().trim_start_matches('/').splitn(2, '/');
    let page = path.next().unwrap_or_default();
    let one = path.next().filter(|name| !name.is_empty());
    let is_page = ["livez", "readyz", "healthz"].contains(&page);
    let found =
        is_page.then(|| checks.answer(&Question { page, one, excluded: &excluded, verbose })).flatten();
    let Page { code, text } =
        found.unwrap_or_else(|| Page { code: 404, text: "404 page not found\n".into() });
    let mut response = Response::new(Full::from(text));
    // The codes above are all valid.
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn whoever_asks_is_told_what_is_missing() {
        let (checks, stop) = (Checks::new(), CancellationToken::new());
        checks.ready("informer-sync", || Err("pods are not listed yet".into()));
        let address = serve(([127, 0, 0, 1], 0).into(), checks, stop.clone()).await.unwrap();
        let page = "[+]ping ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n";
        let why = "internal server error: pods are not listed yet\n";
        let cases = [
            ("/livez", 200, "ok"),
            ("/readyz", 500, page),
            ("/readyz/informer-sync", 500, why),
            ("/readyz?exclude=informer-sync", 200, "ok"),
            ("/readyz/nobody", 404, "404 page not found\n"),
            ("/secrets", 404, "404 page not found\n"),
        ];
        for (path, code, text) in cases {
            assert_eq!(get(address, path).await, (code, text.to_owned()), "{path}");
        }
        // Whoever says nothing keeps nobody else from asking, as long as there are not many of them.
        let _silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(get(address, "/healthz").await.0, 200);
        stop.cancel();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
