//! The bodies of requests: how much of them one connection may have the server hold, and how long one may take to come.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use coracle_api::Status;
use http_body_util::LengthLimitError;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::large::LARGEST;

/// How much a connection may have under way, in [`UNIT`]s: five of the largest bodies, thousands of the usual ones. A thousand
/// streams of one connection would otherwise be a thousand times the largest.
const ROOM: usize = 16 << 10;
/// Room is counted in KiB.
const UNIT: usize = 1 << 10;

/// The room of one connection. A clone is the same.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(ROOM)))
    }
}

/// A body that has come, and its room, which is given back with it.
#[derive(Debug)]
pub struct Held {
    /// What was sent.
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Room {
    /// Waits for room, then for the body, both together no longer than `within`.
    ///
    /// # Errors
    /// 413 for one that is larger than any may be, 408 for one that does not come in time, 400 for one that breaks off.
    pub async fn read(&self, body: Body, within: Duration) -> Result<Held, Status> {
        let length = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        let units = length.unwrap_or(LARGEST).min(LARGEST).div_ceil(UNIT);
        let read = async {
            let room = self.0.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await;
            let room = room.map_err(Status::internal)?;
            let bytes = to_bytes(body, LARGEST).await.map_err(broken)?;
            Ok(Held { bytes, _room: room })
        };
        let too_late = || Status::failure(408, "Timeout", "the body did not come in time");
        tokio::time::timeout(within, read).await.unwrap_or_else(|_| Err(too_late()))
    }
}

fn broken(error: axum::Error) -> Status {
    let source = std::error::Error::source(&error);
    if source.is_some_and(|source| source.is::<LengthLimitError>()) {
        return Status::too_large(format!("Request entity too large: limit is {LARGEST}"));
    }
    Status::bad_request(format!("the body could not be read: {error}"))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::stream;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    fn endless() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_holds_so_much_and_no_more() {
        let room = Room::default();
        let mut coming: Vec<_> = (0..10).map(|_| Box::pin(room.read(endless(), WITHIN))).collect();
        coming.iter_mut().for_each(|read| assert!(read.as_mut().now_or_never().is_none()));
        assert_eq!(room.0.available_permits(), 0, "five come, the sixth waits for what is left");
        // Those that wait for room wait no longer than those that wait for bytes.
        for read in coming {
            assert_eq!(read.await.unwrap_err().code, 408);
        }
        let held = room.read(Body::from("abc"), WITHIN).await.unwrap();
        assert_eq!((&held.bytes[..], room.0.available_permits()), (&b"abc"[..], ROOM - 1));
        drop(held);
        assert_eq!(room.0.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let room = Room::default();
        let refused = room.read(Body::from(vec![b'x'; LARGEST + 1]), WITHIN).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (413, "Request entity too large: limit is 3145728")
        );
    }
}
