//! Takes the oldest frames of the log into the base. Any server may do it; two that do it at once do not harm each other, because each
//! step is made only if the floor is still where it was.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::Revision;
use coracle_client::backoff::Backoff;
use coracle_proto::etcd as pb;
use tokio::sync::watch;

use super::access::{Access, Trouble};
use super::layout::{self, Layout};
use crate::store::health::Health;

/// The most changes in one step: etcd takes 128 operations by default, and each object is one.
const STEP: usize = 100;
/// The most bytes in one step, but for its first frame, under etcd's 1.5 MB for a request.
const STEP_BYTES: usize = 1 << 20;
const WITHIN: Duration = Duration::from_secs(10);

/// Folds up to whatever revision `goal` says, until nobody sets goals any more.
pub async fn run(
    access: Arc<Access>,
    layout: Layout,
    mut goal: watch::Receiver<Revision>,
    health: Arc<Health>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    let mut failed = false;
    loop {
        let wanted = *goal.borrow_and_update();
        match fold(&access, &layout, wanted).await {
            Ok(()) => {
                health.set_fold(None);
                failed = false;
                backoff.reset();
                if goal.changed().await.is_err() {
                    return;
                }
            }
            Err(why) => {
                // Of one that etcd's silence explains the writer tells.
                if std::mem::replace(&mut failed, true) {
                    health.set_fold(Some(format!("cannot fold the log in etcd: {why}")));
                }
                // Nobody waits for it once the store closes.
                let again = tokio::time::sleep(backoff.next_wait());
                tokio::pin!(again);
                tokio::select! {
                    () = &mut again => {}
                    changed = goal.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

/// Steps until the floor has reached the goal.
async fn fold(access: &Access, layout: &Layout, goal: Revision) -> Result<(), String> {
    let to_text = |trouble: Trouble| trouble.to_string();
    loop {
        let (key, end) = layout.frames_from(Revision(0));
        let heads = vec![layout::get(layout.floor()), layout::range(key, end, layout::PAGE, 0)];
        let heads = access
            .txn(pb::TxnRequest { success: heads, ..Default::default() }, WITHIN)
            .await
            .map_err(to_text)?;
        let floor = layout::found(&heads, 0).0.first();
        let (Some(at), Some(set)) = (layout::number(floor), floor.map(|kv| kv.mod_revision)) else {
            return Err("the floor is missing".into());
        };
        let (mut changes, mut bytes, mut last) = (Vec::new(), 0, at);
        for kv in layout::found(&heads, 1).0 {
            let frame = layout::read(&kv.value)?;
            let end = frame.changes.last().map(|change| change.object.revision).unwrap_or_default();
            let full = changes.len() + frame.changes.len() > STEP || bytes + kv.value.len() > STEP_BYTES;
            if end > goal || (full && !changes.is_empty()) {
                break;
            }
            bytes += kv.value.len();
            last = end;
            changes.extend(frame.changes);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let step = access.txn(layout.fold(set, last, &changes), WITHIN).await.map_err(to_text)?;
        if !step.succeeded {
            // Another server is at it. Its goal may be nearer than this one's.
            tokio::time::sleep(Duration::from_millis(rand::random_range(1..20))).await;
        }
    }
}
