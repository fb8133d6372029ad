//! A container's log, line by line, each with the time that the engine noted.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters as query;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::answer::error_of;
use crate::runtime::follow::{self, Log};
use crate::runtime::{Error, LogLine, LogOptions};

/// What a container has written. With `follow` until it has ended.
pub fn logs(docker: Docker, id: String, options: LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
    let log = EngineLog { docker, id };
    match options.follow {
        true => follow::follow(log, options),
        false => log.read(options.tail, options.since),
    }
}

struct EngineLog {
    docker: Docker,
    id: String,
}

impl EngineLog {
    fn options(tail: Option<u64>, follow: bool) -> query::LogsOptions {
        query::LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            timestamps: true,
            tail: tail.map_or_else(|| "all".into(), |lines| lines.to_string()),
            ..Default::default()
        }
    }
}

impl Log for EngineLog {
    fn read(
        &self,
        tail: Option<u64>,
        since: Option<Timestamp>,
    ) -> BoxStream<'static, Result<LogLine, Error>> {
        let options = query::LogsOptions {
            // Whole seconds are all that this field takes: the first second is cut exactly below.
            since: since.and_then(|since| i32::try_from(since.as_second()).ok()).unwrap_or(0),
            ..Self::options(tail, false)
        };
        let lines = self.docker.logs(&self.id, Some(options)).map(line);
        let lines = lines.filter(move |line: &Result<LogLine, Error>| {
            let wanted = match (line, since) {
                (Ok(line), Some(since)) => line.time.parse::<Timestamp>().is_ok_and(|time| time >= since),
                _ => true,
            };
            std::future::ready(wanted)
        });
        lines.boxed()
    }

    /// What the engine passes on while it follows: which lines these are does not matter.
    fn written(&self) -> BoxStream<'static, Result<(), Error>> {
        let followed = self.docker.logs(&self.id, Some(Self::options(Some(0), true)));
        let options = query::WaitContainerOptions { condition: "not-running".into() };
        // An error of the wait is one of the engine's, which the log shows, too.
        let ended = self.docker.wait_container(&self.id, Some(options)).into_future();
        let followed = followed.map(|piece| piece.map(drop).map_err(error_of));
        followed.take_until(ended).boxed()
    }
}

fn line(piece: Result<LogOutput, bollard::errors::Error>) -> Result<LogLine, Error> {
    let piece = piece.map_err(error_of)?;
    let stderr = matches!(piece, LogOutput::StdErr { .. });
    let (time, data) = split_time(piece.into_bytes());
    Ok(LogLine { time, stderr, data })
}

/// Splits `2026-11-22T15:43:00.123456789Z text` into its time and the text.
fn split_time(data: Bytes) -> (String, Bytes) {
    match data.iter().position(|byte| *byte == b' ') {
        Some(at) => (String::from_utf8_lossy(&data[..at]).into_owned(), data.slice(at + 1..)),
        None => (String::from_utf8_lossy(&data).trim_end().to_owned(), Bytes::new()),
    }
}
