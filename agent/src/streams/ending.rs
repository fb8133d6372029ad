//! Streams that end with the container that they belong to.

use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};

use crate::context::Context;

/// How long output may still arrive after its container has ended.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Waits where the engine does not answer whether a container runs: the first, and the longest.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Returns when a container has ended, or is gone.
pub(super) async fn end_of(ctx: &Context, id: &str) {
    let mut backoff = ctx.backoff(ASK_AGAIN.0, ASK_AGAIN.1);
    while let Err(error) = ctx.runtime().ended(id).await {
        tracing::debug!(container = id, %error, "cannot see whether a container runs");
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// The same stream, but one that ends: some time after `end`, when nothing has come for a while. An engine may keep a
/// stream open for ever, such as that of a command in a container whose processes others see. What did come is passed
/// on, however slowly it is read.
pub(super) fn ending<S>(stream: S, end: impl Future<Output = ()>) -> impl Stream<Item = S::Item>
where
    S: Stream + Unpin,
{
    let end = Some(Box::pin(end));
    stream::unfold((stream, end), |(mut stream, mut end)| async move {
        let item = loop {
            let Some(waiting) = &mut end else {
                break tokio::time::timeout(ON_ITS_WAY, stream.next()).await.unwrap_or(None);
            };
            tokio::select! {
                biased;
                item = stream.next() => break item,
                () = waiting => end = None,
            }
        };
        item.map(|item| (item, (stream, end)))
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const END: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_would_never_end_ends_with_its_container() {
        let begun = Instant::now();
        let endless = stream::iter([1, 2]).chain(stream::pending());
        assert_eq!(ending(endless, sleep(END)).collect::<Vec<_>>().await, [1, 2]);
        assert_eq!(begun.elapsed(), END + ON_ITS_WAY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_container_wrote_is_passed_on_behind_its_end() {
        let pause = ON_ITS_WAY / 2;
        let trickle = stream::iter(0..20).then(|n| async move {
            sleep(pause).await;
            n
        });
        let mut read = Vec::new();
        let mut lines = std::pin::pin!(ending(Box::pin(trickle), sleep(pause)));
        while let Some(line) = lines.next().await {
            read.push(line);
            sleep(ON_ITS_WAY * 3).await;
        }
        assert_eq!(read, (0..20).collect::<Vec<_>>(), "however slowly it is read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_does_not_wait_for_its_container() {
        let begun = Instant::now();
        assert_eq!(ending(stream::iter([1]), std::future::pending()).collect::<Vec<_>>().await, [1]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
