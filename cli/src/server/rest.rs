//! Requests as the verbs make them: plain paths and trees, so that every kind of every server is treated alike.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::AsyncBufRead;
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

use crate::print::remark;
use crate::server::connection::Connection;

/// How long an answer may take, streams aside.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";
/// JSON merge patch.
pub const MERGE: &str = "application/merge-patch+json";
/// JSON patch.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// An answer as a table, from servers that can; others send the objects.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// What the server answers when it says no.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// `NotFound` and the like.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

/// Whether an error is the server's no of that kind.
pub fn is_refused(error: &anyhow::Error, code: u16) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == code)
}

impl Connection {
    /// Reads a path.
    ///
    /// # Errors
    /// [`Refused`], or the server cannot be reached.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.get_as(path, "application/json").await
    }

    /// Reads a path in one of the forms of an `Accept` header.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Value> {
        let request = Request::get(path).header("Accept", accept).body(Body::empty())?;
        Ok(self.answer(request).await?.1)
    }

    /// Reads a path, `None` where nothing is there.
    ///
    /// # Errors
    /// As [`Connection::get`], NotFound aside.
    pub async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_refused(&error, 404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a body; returns the status and the answer.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn send(&self, method: Method, path: &str, form: &str, body: &Value) -> Result<(u16, Value)> {
        let body = Body::from(serde_json::to_vec(body)?);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Accept", "application/json")
            .header("Content-Type", form)
            .body(body)?;
        self.answer(request).await
    }

    async fn answer(&self, request: Request<Body>) -> Result<(u16, Value)> {
        let answer = async {
            let response = self.client.send(request).await.map_err(unreachable)?;
            let code = response.status().as_u16();
            let warnings: Vec<String> = response
                .headers()
                .get_all("Warning")
                .iter()
                .filter_map(|w| w.to_str().ok().map(warning))
                .collect();
            let bytes = response.into_body().collect_bytes().await.map_err(unreachable)?;
            anyhow::Ok((code, warnings, bytes))
        };
        let Ok(answered) = tokio::time::timeout(ANSWER_WITHIN, answer).await else {
            bail!("no answer from the API server within {} s", ANSWER_WITHIN.as_secs());
        };
        let (code, warnings, bytes) = answered?;
        for warning in warnings {
            remark!("Warning: {warning}");
        }
        if code >= 400 {
            return Err(refusal(code, &bytes).into());
        }
        let value = serde_json::from_slice(&bytes).context("the server's answer is no JSON")?;
        Ok((code, value))
    }

    /// Opens a stream: a log, or a watch.
    ///
    /// # Errors
    /// As [`Connection::get`].
    pub async fn stream(&self, path: &str, accept: &str) -> Result<impl AsyncBufRead + use<>> {
        let request = Request::get(path).header("Accept", accept).body(Vec::new())?;
        let opened = tokio::time::timeout(ANSWER_WITHIN, self.client.request_stream(request)).await;
        match opened.context("no answer from the API server")? {
            Ok(stream) => Ok(stream),
            Err(kube::Error::Api(status)) => {
                let refused = Refused {
                    code: status.code,
                    reason: status.reason.clone(),
                    message: status.message.clone(),
                };
                Err(refused.into())
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

fn unreachable(error: kube::Error) -> anyhow::Error {
    anyhow::Error::new(error)
        .context("cannot reach the API server (`coracle status` shows whether the cluster runs)")
}

/// The server's own words, whether it sent a `Status` or plain text.
fn refusal(code: u16, bytes: &[u8]) -> Refused {
    let status: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |field: &str| status[field].as_str().map(String::from);
    Refused {
        code,
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_else(|| {
            let plain = String::from_utf8_lossy(bytes).trim().to_string();
            if plain.is_empty() { format!("the server answered {code}") } else { plain }
        }),
    }
}

/// The text of a `Warning:` header: `299 - "text"`.
fn warning(header: &str) -> String {
    let text = header.splitn(3, ' ').nth(2).unwrap_or(header);
    // One quote at each end belongs to the header; the last of the text's own is escaped and stays.
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// A value inside a query.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_in_the_servers_words() {
        let status = br#"{"kind":"Status","reason":"NotFound","message":"pods \"x\" not found","code":404}"#;
        let refused = refusal(404, status);
        assert_eq!(
            (refused.reason.as_str(), refused.to_string().as_str()),
            ("NotFound", "pods \"x\" not found")
        );
        assert_eq!(refusal(502, b"bad gateway\n").message, "bad gateway");
        assert_eq!(refusal(500, b"").message, "the server answered 500");
    }

    #[test]
    fn headers_and_queries() {
        assert_eq!(warning(r#"299 - "unknown field \"x\"""#), r#"unknown field "x""#);
        assert_eq!(escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
