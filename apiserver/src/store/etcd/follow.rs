//! The watch: every frame that any server writes, in order, handed to the writer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::Revision;
use coracle_client::backoff::Backoff;
use coracle_proto::etcd as pb;
use pb::watch_create_request::FilterType;
use tokio::sync::mpsc;

use super::access::{Access, Trouble};
use super::layout::Layout;

/// How long etcd may take to begin a watch.
const BEGIN: Duration = Duration::from_secs(5);
const SOONEST: Duration = Duration::from_millis(50);
const LATEST: Duration = Duration::from_secs(2);

/// A frame that was written, and etcd's revision of that.
pub type Heard = (i64, Bytes);

/// Follows from one of etcd's revisions on until nobody listens. It may tell of frames that are known already. An empty message says
/// that something may have been passed over.
pub async fn run(access: Arc<Access>, layout: Layout, from: i64, sink: mpsc::Sender<Vec<Heard>>) {
    let mut next = from;
    let mut backoff = Backoff::new(SOONEST, LATEST);
    loop {
        let followed = tokio::select! {
            followed = follow(&access, &layout, &mut next, &sink, &mut backoff) => followed,
            () = sink.closed() => return,
        };
        match followed {
            Ok(()) => tracing::debug!("etcd has ended the watch"),
            Err(trouble) => tracing::warn!(%trouble, "cannot follow etcd for now"),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait()) => {}
            () = sink.closed() => return,
        }
    }
}

async fn follow(
    access: &Access,
    layout: &Layout,
    next: &mut i64,
    sink: &mpsc::Sender<Vec<Heard>>,
    backoff: &mut Backoff,
) -> Result<(), Trouble> {
    let (key, range_end) = layout.frames_from(Revision(0));
    // Whoever folds the log takes frames away: that is no news.
    let filters = vec![FilterType::Nodelete.into()];
    let create = pb::WatchCreateRequest { key, range_end, start_revision: *next, filters };
    let mut stream = access.watch(create, BEGIN).await?;
    let lost = |status: tonic::Status| Trouble::Silent { why: status.message().into(), unsent: false };
    while let Some(response) = stream.message().await.map_err(lost)? {
        if response.canceled {
            if response.compact_revision > 0 {
                *next = response.compact_revision;
                return Err(Trouble::Compacted);
            }
            return Err(Trouble::Silent { why: response.cancel_reason, unsent: false });
        }
        if response.created {
            *backoff = Backoff::new(SOONEST, LATEST);
        }
        let events = response.events.into_iter().filter_map(|event| event.kv);
        let heard: Vec<Heard> = events.map(|kv| (kv.mod_revision, kv.value)).collect();
        if let Some((last, _)) = heard.last() {
            *next = last + 1;
        }
        // After it began the writer looks once for what came before.
        if (response.created || !heard.is_empty()) && sink.send(heard).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
