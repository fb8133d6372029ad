//! Processes with open streams: exec, attach, and logs.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters as query;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::told;
use crate::runtime::{Error, ExecOutput, LogLine, LogOptions, Output, Process, Session, Streams};

async fn create_exec(
    docker: &Docker,
    id: &str,
    command: &[String],
    streams: Streams,
) -> Result<String, Error> {
    let options = CreateExecOptions {
        attach_stdin: Some(streams.stdin),
        attach_stdout: Some(streams.stdout),
        attach_stderr: Some(streams.stderr),
        tty: Some(streams.tty),
        cmd: Some(command.to_vec()),
        ..Default::default()
    };
    docker.create_exec(id, options).await.map(|made| made.id).map_err(told)
}

/// Runs a command to its end.
pub async fn run(docker: &Docker, id: &str, command: &[String], limit: usize) -> Result<ExecOutput, Error> {
    let streams = Streams { stdout: true, stderr: true, ..Default::default() };
    let exec = create_exec(docker, id, command, streams).await?;
    let mut collected = BytesMut::new();
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&exec, None).await.map_err(told)?
    {
        while let Some(piece) = output.next().await {
            let bytes = piece.map_err(told)?.into_bytes();
            let room = limit.saturating_sub(collected.len());
            collected.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
    let code = docker.inspect_exec(&exec).await.map_err(told)?.exit_code.unwrap_or(0);
    Ok(ExecOutput { code, output: collected.to_vec() })
}

/// What the streams of a process belong to.
enum Target {
    Exec(String),
    Container(String),
}

struct DockerProcess {
    docker: Docker,
    target: Target,
}

/// Runs a command with its streams open.
pub async fn open_exec(
    docker: &Docker,
    id: &str,
    command: &[String],
    streams: Streams,
) -> Result<Session, Error> {
    let exec = create_exec(docker, id, command, streams).await?;
    let options = StartExecOptions { detach: false, tty: streams.tty, output_capacity: Some(64 * 1024) };
    match docker.start_exec(&exec, Some(options)).await.map_err(told)? {
        StartExecResults::Attached { output, input } => {
            let process = DockerProcess { docker: docker.clone(), target: Target::Exec(exec) };
            Ok(Session { output: pieces(output), input, process: Arc::new(process) })
        }
        StartExecResults::Detached => Err(Error::Refused("the engine did not attach".into())),
    }
}

/// Attaches to a container's first process.
pub async fn attach(docker: &Docker, id: &str, streams: Streams) -> Result<Session, Error> {
    let options = query::AttachContainerOptions {
        stream: true,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        ..Default::default()
    };
    let attached = docker.attach_container(id, Some(options)).await.map_err(told)?;
    let process = DockerProcess { docker: docker.clone(), target: Target::Container(id.to_owned()) };
    Ok(Session { output: pieces(attached.output), input: attached.input, process: Arc::new(process) })
}

fn pieces<S>(output: S) -> BoxStream<'static, Result<Output, Error>>
where
    S: futures::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send + 'static,
{
    let pieces = output.map(|piece| {
        let piece = piece.map_err(told)?;
        let stderr = matches!(piece, LogOutput::StdErr { .. });
        Ok(Output { stderr, data: piece.into_bytes() })
    });
    pieces.boxed()
}

#[async_trait]
impl Process for DockerProcess {
    async fn resize(&self, width: u16, height: u16) -> Result<(), Error> {
        match &self.target {
            Target::Exec(exec) => {
                self.docker.resize_exec(exec, ResizeExecOptions { height, width }).await.map_err(told)
            }
            Target::Container(id) => {
                let options = query::ResizeContainerTTYOptions { h: i32::from(height), w: i32::from(width) };
                self.docker.resize_container_tty(id, options).await.map_err(told)
            }
        }
    }

    async fn exit_code(&self) -> Result<Option<i64>, Error> {
        match &self.target {
            Target::Exec(exec) => {
                let found = self.docker.inspect_exec(exec).await.map_err(told)?;
                Ok(if found.running == Some(true) { None } else { found.exit_code })
            }
            Target::Container(id) => {
                let options = None::<query::InspectContainerOptions>;
                let state =
                    self.docker.inspect_container(id, options).await.map_err(told)?.state.unwrap_or_default();
                Ok(if state.running == Some(true) { None } else { state.exit_code })
            }
        }
    }
}

/// A container's log, line by line, each with the time that the engine noted.
pub fn logs(docker: Docker, id: String, options: LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
    let asked = query::LogsOptions {
        follow: options.follow,
        stdout: true,
        stderr: true,
        timestamps: true,
        // Whole seconds are all that this field takes: the first second is cut exactly below.
        since: options.since.and_then(|since| i32::try_from(since.as_second()).ok()).unwrap_or(0),
        tail: options.tail.map_or_else(|| "all".into(), |lines| lines.to_string()),
        ..Default::default()
    };
    let lines = docker.logs(&id, Some(asked)).map(|piece| {
        let piece = piece.map_err(told)?;
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
