//! What a container's first process reads and writes.

use std::sync::Arc;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters as query;
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
