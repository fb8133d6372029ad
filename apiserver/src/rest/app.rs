//! What every handler may use, and what every handler is given.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::Status;
use coracle_client::Checks;
use http::{HeaderMap, HeaderName, Method, header};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::auth::authenticate::Authenticator;
use crate::auth::authorize::Authorizer;
use crate::http::query::Query;
use crate::identity::Identity;
use crate::lines::Lines;
use crate::peers::ask::Peers;
use crate::registry::Registry;
use crate::verdicts::Verdicts;

/// What every handler may use.
pub struct App {
    /// Everything that is served.
    pub registry: Arc<Registry>,
    /// What the scheduler says of pods.
    pub verdicts: Arc<Verdicts>,
    /// Tells who asks.
    pub authenticator: Authenticator,
    /// Tells whether they may.
    pub authorizer: Authorizer,
    /// The way to containers.
    pub lines: Lines,
    /// The other servers on the same store.
    pub peers: Peers,
    /// The server is going down: long answers end.
    pub stop: CancellationToken,
    /// Whether the server is well.
    pub checks: Checks,
    /// What the requests so far came to.
    pub metrics: Metrics,
    /// How long a client may take to send a body.
    pub body_time: Duration,
    /// The documents about the kinds that are served.
    pub openapi: crate::discovery::OpenApi,
}

/// A request, taken apart.
pub struct Asked {
    /// `GET`.
    pub method: Method,
    /// The part of the URL after the question mark.
    pub query: Query,
    /// `Accept`, as sent.
    pub accept: String,
    /// `Content-Type`, as sent.
    pub content_type: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// Who asks.
    pub user: Arc<Identity>,
    /// What was sent.
    pub body: Bytes,
}

impl Asked {
    /// Everything but who asks and what was sent, which are found out later.
    ///
    /// # Errors
    /// 400 for a header that says how to read or to answer, and cannot be read itself.
    pub fn read(method: &Method, query: Query, headers: &HeaderMap) -> Result<Asked, Status> {
        let user_agent = headers.get(header::USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
        Ok(Asked {
            method: method.clone(),
            query,
            accept: text(headers, &header::ACCEPT)?,
            content_type: text(headers, &header::CONTENT_TYPE)?,
            user_agent: String::from_utf8_lossy(user_agent).into_owned(),
            user: Arc::default(),
            body: Bytes::new(),
        })
    }

    /// Whether a person is reading: who says so, or uses a browser, curl or wget.
    pub fn pretty(&self) -> bool {
        match self.query.get("pretty") {
            Some("") | None => {
                ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| self.user_agent.starts_with(agent))
            }
            Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        }
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Result<String, Status> {
    let value = headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let text = std::str::from_utf8(value);
    let text = text.map_err(|_| Status::bad_request(format!("the header {name} is not UTF-8")))?;
    Ok(text.to_owned())
}
