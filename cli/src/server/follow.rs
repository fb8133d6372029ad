//! Looks at one object now and after each of its changes: how a verb waits.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::{AsyncBufReadExt, StreamExt};
use serde_json::Value;

use super::kinds::Served;
use super::rest::escape;
use crate::server::connection::Connection;

/// How long to wait before asking anew, after a watch has ended.
const AGAIN: Duration = Duration::from_millis(200);

/// One object of the server's.
pub struct One<'a> {
    /// Its kind.
    pub kind: &'a Served,
    /// Its namespace; of no meaning where the kind has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl One<'_> {
    /// The list that holds this object or nothing.
    fn path(&self) -> String {
        let list = self.kind.list_path(Some(self.namespace));
        format!("{list}?fieldSelector=metadata.name%3D{}", escape(self.name))
    }

    /// Shows the object as it is, and again after each change, `None` while there is none, until `see` has an answer.
    ///
    /// # Errors
    /// `see` fails, the server says no, or there is no answer in time: `what` says for what.
    pub async fn until<T>(
        &self,
        connection: &Connection,
        within: Duration,
        what: &str,
        mut see: impl FnMut(Option<&Value>) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            // Bounded by itself: however short the time, the object is seen once.
            let list = connection.get(&self.path()).await?;
            if let Some(answer) = see(list["items"].get(0))? {
                return Ok(answer);
            }
            let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let changes = async {
                let answer = self.changes(connection, revision, &mut see).await?;
                if answer.is_none() {
                    tokio::time::sleep(AGAIN).await;
                }
                anyhow::Ok(answer)
            };
            match tokio::time::timeout_at(deadline, changes).await {
                Ok(Ok(Some(answer))) => return Ok(answer),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => bail!("timed out waiting for {what}"),
            }
        }
    }

    /// The changes after `revision`. `None`: the watch ended, as servers end them now and then.
    async fn changes<T>(
        &self,
        connection: &Connection,
        revision: &str,
        see: &mut impl FnMut(Option<&Value>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let path = format!("{}&watch=true&resourceVersion={}", self.path(), escape(revision));
        let mut changes = connection.stream(&path, "application/json").await?.lines();
        while let Some(Ok(change)) = changes.next().await {
            let change: Value = serde_json::from_str(&change)?;
            let answer = match change["type"].as_str() {
                Some("ADDED" | "MODIFIED") => see(Some(&change["object"]))?,
                Some("DELETED") => see(None)?,
                Some("ERROR") => return Ok(None),
                _ => None,
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }
}
