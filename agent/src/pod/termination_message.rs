//! A container's termination message: what it wrote into its file for that, or the end of its log.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;

use super::start;
use crate::context::Context;
use crate::runtime::{Container, LogOptions, State};
use crate::spec::find;

/// How much of the file is shown.
const FILE: u64 = 4096;
/// How much of the log is shown instead.
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2048;
/// How long the engine may take to show the log.
const PATIENCE: Duration = Duration::from_secs(5);

/// The termination message of a container that has ended.
pub async fn read(ctx: &Context, pod: &Pod, name: &str, attempt: u32, container: &Container) -> String {
    let State::Exited { code, started, .. } = &container.state else { return String::new() };
    if started.is_none() {
        return String::new();
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let written = ctx.files.end_of_file(uid, &start::message_file(name, attempt), FILE).await;
    let spec = pod.spec.clone().unwrap_or_default();
    let policy = find(&spec, name);
    let policy = policy.and_then(|(container, _)| container.termination_message_policy.clone());
    if !written.is_empty() || *code == 0 || policy.as_deref() != Some("FallbackToLogsOnError") {
        return String::from_utf8_lossy(&written).into_owned();
    }
    let options = LogOptions { tail: Some(LOG_LINES), ..Default::default() };
    let lines = ctx.runtime().logs(&container.id, &options).collect::<Vec<_>>();
    let lines = tokio::time::timeout(PATIENCE, lines).await.unwrap_or_default();
    let log: Vec<u8> = lines.into_iter().flatten().flat_map(|line| line.data.to_vec()).collect();
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES)..]).into_owned()
}
