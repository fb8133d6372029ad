//! No wait for an answer is without an end.

use std::time::Duration;

use crate::Error;

/// How long the answer to one call may take: a list of everything in a large cluster, or a write behind a full queue.
pub const ANSWER: Duration = Duration::from_secs(60);

/// Waits for the answer to a call, but not for ever.
///
/// # Errors
/// The call's own; [`Error::Unreachable`] when there was no answer in time. Whether a write happened is unknown then.
pub async fn in_time<T>(
    within: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Unreachable(format!("no answer within {} s", within.as_secs()))),
    }
}
