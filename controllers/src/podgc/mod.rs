//! Cleans up pods that nobody else does: of lost nodes, deleted before they had one, or long since ended.
//!
//! ```text
//! every now and then: [Pod] [Node] --> plan --> phase Failed, delete at once
//! ```

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Ctx, Error, Op, Requeue, Store, Typed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::{Observed, Reason, plan};
use crate::owner::uid;
use crate::{BATCH, Shared, Timing, drive, pods, write_all};

struct Controller {
    pods: Store<Pod>,
    nodes: Store<Node>,
    /// Since when a node is missing that pods are bound to.
    missing: Mutex<BTreeMap<String, Timestamp>>,
    timing: Timing,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let controller = Arc::new(Controller {
        pods: shared.informers.store(),
        nodes: shared.informers.store(),
        missing: Mutex::default(),
        timing: shared.config.timing.clone(),
    });
    let runner = shared.runner("pod-garbage-collector");
    // One key for all pods, looked at by the clock and not by change.
    runner.queue().add(Key::new(Pod::kind(), "", ""), None);
    drive(runner, controller, stop, |it, ctx, _| Box::pin(it.reconcile(ctx))).await;
}

impl Controller {
    #[tracing::instrument(skip_all)]
    async fn reconcile(&self, ctx: &Ctx) -> Result<Requeue, Error> {
        let pods = self.pods.list();
        let missing = self.missing(ctx, &pods).await?;
        let going = plan(&Observed { pods: &pods, missing: &missing }, &self.timing, ctx.now());
        for batch in going.chunks(BATCH) {
            remove(ctx, batch).await?;
        }
        Ok(Requeue::After(self.timing.pod_check))
    }

    /// Brings up to date since when which nodes are missing; before one counts, the server itself is asked.
    async fn missing(&self, ctx: &Ctx, pods: &[Arc<Pod>]) -> Result<BTreeMap<String, Timestamp>, Error> {
        let bound: BTreeSet<&str> = pods.iter().filter_map(|pod| plan::node(pod)).collect();
        let mut missing = BTreeMap::new();
        let known = self.missing.lock().clone();
        for node in bound.into_iter().filter(|node| self.nodes.get("", node).is_none()) {
            if ctx.client().get(&Key::new(Node::kind(), "", node)).await?.is_none() {
                missing.insert(node.to_owned(), known.get(node).copied().unwrap_or_else(|| ctx.now()));
            }
        }
        self.missing.lock().clone_from(&missing);
        Ok(missing)
    }
}

/// A pod that has not ended is told to have failed first: whoever counts it must see why it went.
async fn remove(ctx: &Ctx, going: &[(Arc<Pod>, Reason)]) -> Result<(), Error> {
    let unfinished = |(pod, _): &&(Arc<Pod>, Reason)| !pods::is_finished(pod);
    let fail = |(pod, reason): &(Arc<Pod>, Reason)| {
        let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata.generation});
        if *reason == Reason::Orphaned {
            let message = "PodGC: node no longer exists";
            let of_type = "DisruptionTarget";
            status["conditions"] =
                json!(pods::with_condition(pod, of_type, "DeletionByPodGC", message, ctx.now()));
        }
        let meta = json!({"uid": uid(&pod.metadata), "resourceVersion": pod.metadata.resource_version});
        Op::merge_status(pod.key(), json!({"metadata": meta, "status": status}))
    };
    write_all(ctx, going.iter().filter(unfinished).map(fail).collect()).await?;
    let delete = |(pod, _): &(Arc<Pod>, Reason)| Op::delete(&**pod).with_grace(0);
    write_all(ctx, going.iter().map(delete).collect()).await
}
