//! The change log as the server tells it.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::connection::Connection;

/// One write that happened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Change {
    /// Its number.
    pub revision: u64,
    /// When.
    pub time: jiff::Timestamp,
    /// Who.
    pub actor: String,
    /// The revisions that made them do it.
    #[serde(default)]
    pub causes: Vec<u64>,
    /// `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// What was written.
    pub key: Key,
    /// Told from namesakes.
    #[serde(default)]
    pub uid: String,
}

/// What a change is about.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `apps/v1`.
    #[serde(default)]
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Empty for what lives in no namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// What the server remembers.
#[derive(Debug, Deserialize)]
pub struct Log {
    /// Changes up to here are forgotten.
    #[serde(default)]
    pub floor: u64,
    /// The changes, the oldest first.
    pub items: Vec<Change>,
}

/// Reads the log, narrowed down by a query such as `kind=pods&name=x`.
///
/// # Errors
/// The server is not Coracle's, or cannot be reached.
pub async fn fetch(connection: &Connection, query: &str) -> Result<Log> {
    let found = connection.find(&format!("/coracle/v1/changes?{query}")).await?;
    let value = found.context("this server keeps no change log; only Coracle's does")?;
    serde_json::from_value(value).context("the server's change log has another form than this version knows")
}
