//! Commands that run inside containers. The engine has no call that ends one, so a command whose answer is not wanted any more
//! is killed here, with everything that it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bytes::BytesMut;
use futures::StreamExt;
use tokio::time::Instant;

use super::answer::error_of;
use super::connection::DockerRuntime;
use super::helper;
use super::session::{DETACH_KEYS, pieces};
use crate::helper::{Job, kill};
use crate::runtime::{Error, ExecOutput, Process, Runtime, Session, Streams, TerminalSize};

/// How long the engine may take to know how a command ended whose output has ended, and to start one.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a command may go on when its client has gone: one that reads its input sees it end, and ends by itself.
const AFTER_CLIENT: Duration = Duration::from_secs(2);

/// A command in a container.
struct Command {
    runtime: DockerRuntime,
    /// The engine's id of it.
    exec: String,
    container: String,
    /// How long it may go on when it is dropped.
    patience: Duration,
    over: AtomicBool,
}

/// What a command is doing.
enum Stage {
    NotStarted,
    Runs { pid: i64 },
    Over { code: i64 },
}

impl Command {
    async fn create(
        runtime: &DockerRuntime,
        container: &str,
        words: &[String],
        streams: Streams,
        patience: Duration,
    ) -> Result<Command, Error> {
        let options = CreateExecOptions {
            attach_stdin: Some(streams.stdin),
            attach_stdout: Some(streams.stdout),
            attach_stderr: Some(streams.stderr),
            tty: Some(streams.tty),
            detach_keys: Some(DETACH_KEYS.into()),
            cmd: Some(words.to_vec()),
            ..Default::default()
        };
        let exec = runtime.docker.create_exec(container, options).await.map_err(error_of)?.id;
        let (runtime, container) = (runtime.clone(), container.to_owned());
        Ok(Command { runtime, exec, container, patience, over: AtomicBool::new(false) })
    }

    async fn stage(&self) -> Result<Stage, Error> {
        let found = match self.runtime.docker.inspect_exec(&self.exec).await.map_err(error_of) {
            // The engine forgets the commands of a container that has ended; they were killed with it.
            Err(Error::NotFound(_)) => return Ok(Stage::Over { code: 137 }),
            found => found?,
        };
        Ok(match (found.running, found.exit_code) {
            (Some(true), _) => Stage::Runs { pid: found.pid.unwrap_or(0) },
            (_, Some(code)) => Stage::Over { code },
            (_, None) => Stage::NotStarted,
        })
    }

    /// The code with which it ended; `None` while it runs.
    async fn code(&self) -> Result<Option<i64>, Error> {
        let Stage::Over { code } = self.stage().await? else { return Ok(None) };
        self.over.store(true, Ordering::Relaxed);
        Ok(Some(code))
    }

    /// The code of a command whose output has ended.
    async fn ended(&self) -> Result<i64, Error> {
        let known = async {
            loop {
                if let Some(code) = self.code().await? {
                    return Ok(code);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let late = |_| Error::Refused("the engine does not tell how the command ended".into());
        tokio::time::timeout(SETTLED_WITHIN, known).await.map_err(late)?
    }

    /// Kills it, with everything that it started, unless it ends by itself in time. Returns when it has ended.
    async fn end(&self, patience: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        let mut killed = None;
        loop {
            match self.stage().await? {
                Stage::Over { .. } => break,
                Stage::Runs { pid } if begun.elapsed() >= patience && killed.is_none() => {
                    self.kill(pid).await?;
                    killed = Some(Instant::now());
                }
                Stage::Runs { pid } if killed.is_some_and(|at| at.elapsed() > SETTLED_WITHIN) => {
                    return Err(Error::Refused(format!("process {pid} was killed and does not end")));
                }
                // The request that starts it was never sent, or is under way.
                Stage::NotStarted if begun.elapsed() > SETTLED_WITHIN => break,
                Stage::Runs { .. } | Stage::NotStarted => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Kills it here, where this process sees the engine's processes and may; else by a helper.
    async fn kill(&self, pid: i64) -> Result<(), Error> {
        let Some(container) = self.runtime.inspect(&self.container).await? else { return Ok(()) };
        let pid = i32::try_from(pid).map_err(|_| Error::Refused(format!("{pid} is no process")))?;
        let id = container.id.clone();
        let here = tokio::task::spawn_blocking(move || kill::tree(pid, &id)).await;
        if matches!(here, Ok(Ok(killed)) if killed > 0) {
            return Ok(());
        }
        let job = Job::Kill { pid, container: container.id };
        helper::run(&self.runtime, &container.labels, &job).await.map(|_| ())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let over = self.over.swap(true, Ordering::Relaxed);
        let Some(tasks) = tokio::runtime::Handle::try_current().ok().filter(|_| !over) else { return };
        let left = Command {
            runtime: self.runtime.clone(),
            exec: self.exec.clone(),
            container: self.container.clone(),
            patience: self.patience,
            // Only asked by the task below.
            over: AtomicBool::new(true),
        };
        tasks.spawn(async move {
            if let Err(error) = left.end(left.patience).await {
                tracing::warn!(container = left.container, %error, "a command goes on that nobody waits for");
            }
        });
    }
}

/// Runs a command to its end, or until its time is up; then it is killed.
pub async fn run(
    runtime: &DockerRuntime,
    id: &str,
    words: &[String],
    limit: usize,
    timeout: Duration,
) -> Result<ExecOutput, Error> {
    let streams = Streams { stdout: true, stderr: true, ..Default::default() };
    let begun = Instant::now();
    let command = Command::create(runtime, id, words, streams, Duration::ZERO).await?;
    let collect = async {
        let mut collected = BytesMut::new();
        let started = runtime.docker.start_exec(&command.exec, None).await.map_err(error_of)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(piece) = output.next().await {
                let bytes = piece.map_err(error_of)?.into_bytes();
                let room = limit.saturating_sub(collected.len());
                collected.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
        Ok(ExecOutput { code: command.ended().await?, output: collected.to_vec() })
    };
    match tokio::time::timeout(timeout.saturating_sub(begun.elapsed()), collect).await {
        Ok(done) => done,
        Err(_) => {
            command.end(Duration::ZERO).await?;
            Err(Error::TimedOut(timeout))
        }
    }
}

/// Runs a command with its streams open.
pub async fn open(
    runtime: &DockerRuntime,
    id: &str,
    words: &[String],
    streams: Streams,
    size: Option<TerminalSize>,
) -> Result<Session, Error> {
    let command = Command::create(runtime, id, words, streams, AFTER_CLIENT).await?;
    if let Some(size) = size {
        // The engine holds this back until the command runs. To be told the size with the start it would have to be newer (API 1.42).
        let (docker, exec) = (runtime.docker.clone(), command.exec.clone());
        tokio::spawn(async move {
            if let Err(error) = resize(&docker, &exec, size).await {
                tracing::debug!(%error, "terminal begins without its size");
            }
        });
    }
    let options = StartExecOptions { detach: false, tty: streams.tty, output_capacity: Some(64 * 1024) };
    match runtime.docker.start_exec(&command.exec, Some(options)).await.map_err(error_of)? {
        StartExecResults::Attached { output, input } => {
            Ok(Session { output: pieces(output), input, process: Arc::new(command) })
        }
        StartExecResults::Detached => Err(Error::Refused("the engine did not attach".into())),
    }
}

async fn resize(docker: &Docker, exec: &str, size: TerminalSize) -> Result<(), Error> {
    let size = ResizeExecOptions { height: size.height, width: size.width };
    docker.resize_exec(exec, size).await.map_err(error_of)
}

#[async_trait]
impl Process for Command {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        resize(&self.runtime.docker, &self.exec, size).await
    }

    async fn exit_code(&self) -> Result<Option<i64>, Error> {
        self.code().await
    }
}
