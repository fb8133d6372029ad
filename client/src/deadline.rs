//! Bounds every wait for an answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::kinds::Kinds;
use coracle_api::{Key, Object, Revision, Status};
use futures::stream::BoxStream;
use serde_json::Value;

use crate::{Client, Error, Event, Interest, Write};

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

/// A client whose every call is answered within [`ANSWER`], if only by [`Error::Unreachable`]. A watch may be silent for as
/// long as it likes once it has begun.
pub struct InTime(Arc<dyn Client>);

impl InTime {
    /// In front of another client.
    pub fn new(client: Arc<dyn Client>) -> InTime {
        InTime(client)
    }
}

#[async_trait]
impl Client for InTime {
    fn kinds(&self) -> &Kinds {
        self.0.kinds()
    }

    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        in_time(ANSWER, self.0.get(key)).await
    }

    async fn list(&self, interest: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
        in_time(ANSWER, self.0.list(interest)).await
    }

    async fn watch(
        &self,
        interests: Vec<Interest>,
        since: Revision,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        in_time(ANSWER, self.0.watch(interests, since)).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
        in_time(ANSWER, self.0.write(writes)).await
    }

    async fn report(&self, verdicts: Vec<(Key, Value)>) -> Result<(), Error> {
        in_time(ANSWER, self.0.report(verdicts)).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use coracle_api::kinds;
    use tokio::time::Instant;

    use super::*;
    use crate::Op;

    /// A server that takes every call and answers none.
    struct Silent(Kinds);

    #[async_trait]
    impl Client for Silent {
        fn kinds(&self) -> &Kinds {
            &self.0
        }

        async fn get(&self, _: &Key) -> Result<Option<Arc<Object>>, Error> {
            pending().await
        }

        async fn list(&self, _: &Interest) -> Result<(Vec<Arc<Object>>, Revision), Error> {
            pending().await
        }

        async fn watch(
            &self,
            _: Vec<Interest>,
            _: Revision,
        ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
            pending().await
        }

        async fn write(&self, _: Vec<Write>) -> Result<Vec<Result<Arc<Object>, Status>>, Error> {
            pending().await
        }

        async fn report(&self, _: Vec<(Key, Value)>) -> Result<(), Error> {
            pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_ends() {
        let client = InTime::new(Arc::new(Silent(Kinds::new())));
        let key = Key::new(&kinds::NODE, "", "n");
        let all = Interest::all(&kinds::NODE);
        let begun = Instant::now();
        let ended = [
            client.get(&key).await.err(),
            client.list(&all).await.err(),
            client.watch(vec![all], Revision(0)).await.err(),
            client.write(vec![Op::delete_key(key).into()]).await.err(),
            client.report(Vec::new()).await.err(),
        ];
        for (call, error) in ended.iter().enumerate() {
            assert!(matches!(error, Some(Error::Unreachable(_))), "call {call}: {error:?}");
        }
        assert_eq!(begun.elapsed(), ANSWER * 5);
    }
}
