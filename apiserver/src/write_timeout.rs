//! Clients that do not read what they are sent.
//!
//! Such a client is alive: its system acknowledges, so [keepalive](crate::listener) finds nothing wrong, and an answer that waits for it
//! would keep its connection, its request and its slot for ever. Over HTTP/2 pings that are not answered end that; this is for HTTP/1 and
//! for what a connection has been upgraded to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream that fails once nothing of what is written to it has gone out for too long. It stands below TLS, where bytes meet the
/// system's buffer, so any byte that the client takes is seen.
pub struct WriteTimeout<S> {
    stream: S,
    limit: Duration,
    /// When the write that waits now has waited too long. Made when a write has to wait for the first time; most never do.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether a write is waiting now.
    waits: bool,
}

impl<S> WriteTimeout<S> {
    /// Waits so long for a client to take anything.
    pub fn new(stream: S, limit: Duration) -> WriteTimeout<S> {
        WriteTimeout { stream, limit, deadline: None, waits: false }
    }

    /// What became of an attempt to write, unless it has waited for too long.
    fn within<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waits = false;
            return outcome;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !std::mem::replace(&mut self.waits, true) {
            deadline.as_mut().reset(Instant::now() + self.limit);
        }
        match deadline.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let why = format!("the client has read nothing for {} s", self.limit.as_secs());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.within(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held here, and a socket holds nothing back either.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_and_who_is_slow_is_not() {
        let (ours, mut theirs) = duplex(8);
        let mut stream = WriteTimeout::new(ours, LIMIT);
        let begun = Instant::now();
        let slow = async {
            for _ in 0..20 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[7; 28]), slow);
        written.expect("each byte that is read buys as much time again");
        let taken = begun.elapsed();
        assert!(taken > 19 * (LIMIT - Duration::from_secs(1)), "{taken:?}");
        // The buffer is full, and nobody reads any more. How long nothing was written before does not count.
        tokio::time::sleep(10 * LIMIT).await;
        let begun = Instant::now();
        let error = stream.write_all(b"x").await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, LIMIT.as_secs()));
        assert_eq!(error.to_string(), "the client has read nothing for 300 s");
    }
}
