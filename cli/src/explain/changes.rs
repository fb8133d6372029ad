//! The change log as the server tells it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::server::connection::Connection;

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
    /// The fields that became different, with their new values where these are told.
    #[serde(default)]
    pub fields: BTreeMap<String, Value>,
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
    let mut log = Log { floor: 0, items: Vec::new() };
    loop {
        // The server answers so many at once; the next page is after the last change of this one.
        let since = log.items.last().map_or(0, |c| c.revision);
        let path = format!("/coracle/v1/changes?fields=true&since={since}&{query}");
        let found = connection.find(path.trim_end_matches('&')).await?;
        let value = found.context("this server keeps no change log; only Coracle's does")?;
        let page: Log = serde_json::from_value(value)
            .context("the server's change log has another form than this version knows")?;
        if page.items.is_empty() {
            return Ok(log);
        }
        log.floor = log.floor.max(page.floor);
        log.items.extend(page.items);
    }
}

impl Change {
    /// What was done, as the rest of a sentence that begins with the actor.
    pub fn what_was_done(&self) -> String {
        let key = &self.key;
        match self.verb.as_str() {
            "create" => format!("created {key}"),
            "delete" => format!("removed {key}"),
            _ => self.update(),
        }
    }

    fn update(&self) -> String {
        let key = &self.key;
        let now = |path: &str| self.fields.get(path).and_then(Value::as_str);
        let starts = |prefix: &str, suffix: &str| {
            self.fields.keys().find_map(|path| {
                let (name, rest) = path.strip_prefix(prefix)?.split_once(']')?;
                rest.starts_with(suffix).then_some(name)
            })
        };
        let container = |state: &str| starts("status.containerStatuses[", &format!(".state.{state}"));
        if let Some(node) = now("spec.nodeName") {
            return format!("bound {key} to {node}");
        }
        if self.fields.contains_key("metadata.deletionTimestamp") {
            return format!("asked {key} to end");
        }
        if let Some(name) = container("running") {
            return format!("started {name} of {key}");
        }
        if let Some(name) = container("terminated") {
            return format!("saw {name} of {key} end");
        }
        match (now("status.conditions[Ready].status"), now("status.conditions[PodScheduled].status")) {
            (Some("True"), _) => return format!("found {key} Ready"),
            (Some("False"), _) => return format!("found {key} not Ready"),
            (_, Some("False")) => return format!("found no node for {key}"),
            _ => {}
        }
        if let Some(replicas) = self.fields.get("spec.replicas") {
            return format!("scaled {key} to {replicas}");
        }
        if self.fields.keys().any(|path| path.starts_with("spec.template")) {
            return format!("changed the template of {key}");
        }
        match self.fields.keys().map(|path| part(path)).collect::<BTreeSet<_>>() {
            none if none.is_empty() => format!("updated {key}"),
            parts => {
                let parts: Vec<&str> = parts.into_iter().take(3).collect();
                format!("updated {key}: {}", parts.join(", "))
            }
        }
    }
}

/// The first two words of a path.
fn part(path: &str) -> &str {
    let end = path.match_indices(['.', '[']).nth(1).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deeds_in_words() {
        let cases = [
            ("create", json!({}), "created pod/p"),
            (
                "update",
                json!({ "spec.nodeName": "a", "status.conditions[PodScheduled].status": "True" }),
                "bound pod/p to a",
            ),
            (
                "update",
                json!({ "status.containerStatuses[c].state.running.startedAt": "x", "status.phase": "Running" }),
                "started c of pod/p",
            ),
            ("update", json!({ "status.conditions[Ready].status": "True" }), "found pod/p Ready"),
            (
                "update",
                json!({ "status.conditions[PodScheduled].status": "False" }),
                "found no node for pod/p",
            ),
            ("update", json!({ "spec.replicas": 3 }), "scaled pod/p to 3"),
            (
                "update",
                json!({ "metadata.labels.a": null, "status.replicas": 1, "status.conditions[X].status": "True" }),
                "updated pod/p: metadata.labels, status.conditions, status.replicas",
            ),
            ("update", json!({}), "updated pod/p"),
        ];
        for (verb, fields, expected) in cases {
            let change = Change {
                verb: verb.into(),
                key: Key { kind: "Pod".into(), name: "p".into(), ..Key::default() },
                fields: serde_json::from_value(fields).expect("fields"),
                ..Change::default()
            };
            assert_eq!(change.what_was_done(), expected);
        }
    }
}
