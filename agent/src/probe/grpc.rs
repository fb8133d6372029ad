//! Whether a server says `SERVING` by the gRPC health protocol. One unary call: written by hand over HTTP/2.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use super::dial::connect;
use super::outcome::Outcome;

/// Calls `grpc.health.v1.Health/Check`.
pub async fn probe(address: Ipv4Addr, port: u16, service: &str, timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    let host = address.to_string();
    let stream = loop {
        match connect(&host, port, deadline.saturating_duration_since(Instant::now())).await {
            Ok(stream) => break stream,
            // A gRPC client goes on trying until its time is up, and says only that.
            Err(_) if Instant::now() + Duration::from_millis(100) < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => {
                tokio::time::sleep_until(deadline).await;
                return Outcome::Failure(late(&host, port, timeout));
            }
        }
    };
    match tokio::time::timeout_at(deadline, call(stream, &host, port, service)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Outcome::Failure(format!("error: health rpc probe failed: {why}")),
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {}s", timeout.as_secs()))
        }
    }
}

fn late(host: &str, port: u16, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    format!(
        "timeout: failed to connect service \"{host}:{port}\" within {seconds}s: context deadline exceeded"
    )
}

async fn call(
    stream: tokio::net::TcpStream,
    host: &str,
    port: u16,
    service: &str,
) -> Result<Outcome, String> {
    let text = |error: hyper::Error| error.to_string();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(text)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let head = answer.headers().clone();
        let body = answer.into_body().collect().await.map_err(text)?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let read =
            |name: &str| trailers.get(name).or_else(|| head.get(name)).and_then(|value| value.to_str().ok());
        let code = read("grpc-status").unwrap_or(if status == StatusCode::OK { "2" } else { "14" });
        let why = read("grpc-message").unwrap_or_default();
        Ok(match code {
            "0" => served(&body.to_bytes()),
            "12" => Outcome::Failure(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {why}"
            )),
            code => Outcome::Failure(format!(
                "error: health rpc probe failed: rpc error: code = {} desc = {why}",
                word(code)
            )),
        })
    };
    let answer = answer.await;
    connection.abort();
    answer
}

/// `HealthCheckRequest { service }` as a gRPC message.
fn message(service: &str) -> Bytes {
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        body.put_u8(length as u8);
        body.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(body.len()).unwrap_or(0));
    framed.put_slice(&body);
    framed.freeze()
}

/// Reads the status of a `HealthCheckResponse`: field 1, a small number; absent is 0.
fn served(framed: &[u8]) -> Outcome {
    let status = match framed.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    };
    let word = match status {
        1 => return Outcome::Success,
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        _ => "SERVICE_UNKNOWN",
    };
    Outcome::Failure(format!("service unhealthy (responded with {word:?})"))
}

fn word(code: &str) -> &str {
    match code {
        "1" => "Canceled",
        "2" => "Unknown",
        "4" => "DeadlineExceeded",
        "5" => "NotFound",
        "7" => "PermissionDenied",
        "13" => "Internal",
        "14" => "Unavailable",
        "16" => "Unauthenticated",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_form() {
        assert_eq!(message("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(message("a").as_ref(), [0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(served(&[0, 0, 0, 0, 2, 8, 1]), Outcome::Success);
        let not = Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".into());
        assert_eq!(served(&[0, 0, 0, 0, 2, 8, 2]), not);
    }
}
