//! A container's log, cut and stamped as asked.

use bytes::{Bytes, BytesMut};
use coracle_api::Status;
use coracle_client::line::{Duplex, Frame, Logs, Open, STDOUT};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::find;
use super::session::accept;
use crate::context::Context;
use crate::runtime::{LogLine, LogOptions};

/// Lines that are sent in one frame when they are there at once.
const AT_ONCE: usize = 256;

/// Sends the log until it ends, or the other end is gone.
pub(super) async fn send(ctx: &Context, order: &Open, wanted: &Logs, session: Duplex) -> Result<(), Status> {
    let pod: Option<Pod> = ctx.client.get_as(&order.namespace, &order.pod).await.map_err(Status::internal)?;
    let pod = pod.ok_or_else(|| Status::not_found(&coracle_api::kinds::POD, &order.pod))?;
    let id = find::for_log(&pod, &order.container, wanted.previous)?;
    if ctx.runtime().inspect(&id).await.map_err(Status::internal)?.is_none() {
        return Err(Status::internal(format!("unable to retrieve container logs for docker://{id}")));
    }
    let options = LogOptions {
        follow: wanted.follow,
        tail: wanted.tail_lines.and_then(|lines| u64::try_from(lines).ok()),
        since: since(wanted, ctx.clock.now()),
    };
    let mut lines = ctx.runtime().logs(&id, &options).ready_chunks(AT_ONCE);
    accept(&session).await;
    let mut writer = LineWriter::new(wanted);
    loop {
        let chunk = tokio::select! {
            biased;
            () = session.send.closed() => return Ok(()),
            chunk = lines.next() => chunk,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        let mut data = BytesMut::new();
        let mut is_broken = false;
        for line in chunk {
            match line {
                Ok(line) => writer.write(&line, &mut data),
                // An error in the middle of a log cannot be reported any more: the log just ends.
                Err(error) => {
                    tracing::debug!(container = id, %error, "a log breaks off");
                    is_broken = true;
                    break;
                }
            }
        }
        if !data.is_empty() {
            let frame = Frame::Data { channel: STDOUT, data: data.freeze() };
            if session.send.send(frame).await.is_err() {
                return Ok(());
            }
        }
        if is_broken || writer.is_full() {
            return Ok(());
        }
    }
}

fn since(wanted: &Logs, now: Timestamp) -> Option<Timestamp> {
    match wanted.since_seconds {
        Some(seconds) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        None => wanted.since_time.parse().ok(),
    }
}

/// Writes lines as they were asked for.
struct LineWriter {
    timestamps: bool,
    /// Bytes that may still be sent.
    left: Option<usize>,
    /// Long lines come in pieces: only the first gets a time.
    at_start: bool,
}

impl LineWriter {
    fn new(wanted: &Logs) -> LineWriter {
        let left = wanted.limit_bytes.and_then(|limit| usize::try_from(limit).ok());
        LineWriter { timestamps: wanted.timestamps, left, at_start: true }
    }

    fn write(&mut self, line: &LogLine, out: &mut BytesMut) {
        if self.timestamps && self.at_start {
            self.put(&Bytes::from(format!("{} ", line.time)), out);
        }
        self.at_start = line.data.ends_with(b"\n");
        self.put(&line.data, out);
    }

    fn put(&mut self, data: &Bytes, out: &mut BytesMut) {
        let fits = self.left.map_or(data.len(), |left| left.min(data.len()));
        out.extend_from_slice(&data[..fits]);
        if let Some(left) = &mut self.left {
            *left -= fits;
        }
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_stamped_once_and_cut_at_the_limit() {
        let line = |data: &'static str| LogLine {
            time: "2026-01-01T00:00:00.5Z".into(),
            stderr: false,
            data: Bytes::from_static(data.as_bytes()),
        };
        let write = |wanted: Logs| {
            let (mut writer, mut out) = (LineWriter::new(&wanted), BytesMut::new());
            for data in ["one\n", "long ", "line\n"] {
                writer.write(&line(data), &mut out);
            }
            (String::from_utf8(out.to_vec()).unwrap(), writer.is_full())
        };
        assert_eq!(write(Logs::default()), ("one\nlong line\n".into(), false));
        let stamped = Logs { timestamps: true, ..Logs::default() };
        let expected = "2026-01-01T00:00:00.5Z one\n2026-01-01T00:00:00.5Z long line\n";
        assert_eq!(write(stamped), (expected.into(), false));
        let limited = Logs { limit_bytes: Some(6), ..Logs::default() };
        assert_eq!(write(limited), ("one\nlo".into(), true));
    }

    #[test]
    fn since_is_a_time_or_seconds_ago() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let seconds = Logs { since_seconds: Some(30), ..Logs::default() };
        assert_eq!(since(&seconds, now), Some("2026-01-01T00:00:30Z".parse().unwrap()));
        let time = Logs { since_time: "2025-12-31T23:00:00Z".into(), ..Logs::default() };
        assert_eq!(since(&time, now), Some("2025-12-31T23:00:00Z".parse().unwrap()));
        assert_eq!(since(&Logs::default(), now), None);
    }
}
