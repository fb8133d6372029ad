//! What a container's first process reads and writes: attach, and logs.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters as query;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::answer::error_of;
use crate::runtime::{Error, Output, Process, Session, Streams, TerminalSize};

/// What a person would have to type to leave a terminal without ending it. The engine watches for such keys and holds back
/// the first of them, by default Ctrl-P, which shells and editors want to have at once. Nobody types these.
pub(super) const DETACH_KEYS: &str = "ctrl-@,ctrl-_,ctrl-@,ctrl-_,ctrl-@";

struct Attached {
    docker: Docker,
    container: String,
}

/// Attaches to a container's first process.
pub async fn attach(docker: &Docker, id: &str, streams: Streams) -> Result<Session, Error> {
    let options = query::AttachContainerOptions {
        stream: true,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        detach_keys: Some(DETACH_KEYS.into()),
        ..Default::default()
    };
    let attached = docker.attach_container(id, Some(options)).await.map_err(error_of)?;
    let process = Attached { docker: docker.clone(), container: id.to_owned() };
    Ok(Session { output: pieces(attached.output), input: attached.input, process: Arc::new(process) })
}

/// The engine's output as our own type.
pub(super) fn pieces<S>(output: S) -> BoxStream<'static, Result<Output, Error>>
where
    S: futures::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
{
    let pieces = output.map(|piece| {
        let piece = piece.map_err(error_of)?;
        let stderr = matches!(piece, LogOutput::StdErr { .. });
        Ok(Output { stderr, data: piece.into_bytes() })
    });
    pieces.boxed()
}

#[async_trait]
impl Process for Attached {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let options =
            query::ResizeContainerTTYOptions { h: i32::from(size.height), w: i32::from(size.width) };
        self.docker.resize_container_tty(&self.container, options).await.map_err(error_of)
    }

    async fn exit_code(&self) -> Result<Option<i64>, Error> {
        let options = None::<query::InspectContainerOptions>;
        let found = self.docker.inspect_container(&self.container, options).await.map_err(error_of)?;
        let state = found.state.unwrap_or_default();
        Ok(if state.running == Some(true) { None } else { state.exit_code })
    }
}

/// A container's log, line by line, each with the time that the engine noted.
pub fn logs(docker: Docker, id: String, options: LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
    let for_engine = query::LogsOptions {
        follow: options.follow,
        stdout: true,
        stderr: true,
        timestamps: true,
        // Whole seconds are all that this field takes: the first second is cut exactly below.
        since: options.since.and_then(|since| i32::try_from(since.as_second()).ok()).unwrap_or(0),
        tail: options.tail.map_or_else(|| "all".into(), |lines| lines.to_string()),
        ..Default::default()
    };
    let lines = docker.logs(&id, Some(for_engine)).map(|piece| {
        let piece = piece.map_err(error_of)?;
        let stderr = matches!(piece, LogOutput::StdErr { .. });
        let data = piece.into_bytes();
        let (time, data) = split_time(data);
        Ok(LogLine { time, stderr, data })
    });
    let since = options.since;
    let lines = lines.filter(move |line: &Result<LogLine, Error>| {
        let wanted = match (line, since) {
            (Ok(line), Some(since)) => line.time.parse::<jiff::Timestamp>().is_ok_and(|time| time >= since),
            _ => true,
        };
        futures::future::ready(wanted)
    });
    lines.boxed()
}

/// Splits `2026-11-22T15:43:00.123456789Z text` into its time and the text.
fn split_time(data: Bytes) -> (String, Bytes) {
    match data.iter().position(|byte| *byte == b' ') {
        Some(at) => (String::from_utf8_lossy(&data[..at]).into_owned(), data.slice(at + 1..)),
        None => (String::from_utf8_lossy(&data).trim_end().to_owned(), Bytes::new()),
    }
}
