//! Empties a namespace that is being deleted, and lets it go once nothing is left in it.
//!
//! ```text
//! [Namespace] --watch--> list what is inside --> delete it all --> plan --> conditions, or /finalize
//! ```

mod plan;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, KindRef, Object};
use coracle_client::{Ctx, Error, Interest, Op, Requeue, Store, Typed};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::{Content, FINALIZER, Plan, is_due, plan};
use crate::{Shared, drive, patch, pods, write_all};

struct Controller {
    namespaces: Store<Namespace>,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let namespaces = shared.informers.store::<Namespace>();
    let controller = Arc::new(Controller { namespaces: namespaces.clone() });
    let runner = shared.runner("namespace-controller").workers(4).watches_itself::<Namespace>();
    // What goes, or comes in between, is a reason to look at a namespace that is going.
    let _ = runner.wakes().on_every_kind(shared.client.kinds(), stop.clone(), move |change| {
        let going = namespaces.get("", &change.object().key.namespace);
        going.filter(|namespace| is_due(namespace)).map(|namespace| namespace.key()).into_iter().collect()
    });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(namespace) = self.namespaces.get_key(key).filter(|namespace| is_due(namespace)) else {
            return Ok(Requeue::Done);
        };
        let mut left = vec![empty(ctx, key, Pod::kind()).await?];
        if left[0].objects.is_empty() {
            for kind in ctx.client().kinds().kept() {
                if !kind.namespaced || kind == Pod::kind() {
                    continue;
                }
                left.push(empty(ctx, key, kind).await?);
            }
        }
        let plan = plan(&namespace, &left, ctx.now());
        apply(ctx, &namespace, &plan).await?;
        Ok(plan.look_again.map_or(Requeue::Done, Requeue::After))
    }
}

/// Asks everything of one kind to go that has not been asked yet, and tells what is left then.
async fn empty(ctx: &Ctx, namespace: &Key, kind: KindRef) -> Result<Content, Error> {
    let interest = Interest { namespace: Some(namespace.name.clone()), ..Interest::all(&kind) };
    let (objects, _) = ctx.client().list(&interest).await?;
    let going: Vec<Key> =
        objects.iter().filter(|object| !is_going(object)).map(|object| object.key.clone()).collect();
    if going.is_empty() {
        return Ok(content(&kind, &objects));
    }
    write_all(ctx, going.into_iter().map(Op::delete_key).collect()).await?;
    let (objects, _) = ctx.client().list(&interest).await?;
    Ok(content(&kind, &objects))
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    metadata: ObjectMeta,
}

fn is_going(object: &Object) -> bool {
    object.decode::<Meta>().is_ok_and(|object| object.metadata.deletion_timestamp.is_some())
}

fn content(kind: &KindRef, objects: &[Arc<Object>]) -> Content {
    let finalizers = |object: &Arc<Object>| {
        object.decode::<Meta>().ok().and_then(|o| o.metadata.finalizers).unwrap_or_default()
    };
    let grace = |object: &Arc<Object>| {
        let pod = Pod::from_json(&object.json).ok().filter(|pod| !pods::is_finished(pod))?;
        let seconds = pod.spec.and_then(|spec| spec.termination_grace_period_seconds)?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    };
    let graces = objects.iter().filter(|_| *kind == Pod::kind()).filter_map(grace);
    Content {
        group: kind.group().into(),
        version: kind.version().into(),
        resource: kind.plural().into(),
        objects: objects.iter().map(finalizers).collect(),
        grace: graces.max().unwrap_or_default(),
    }
}

async fn apply(ctx: &Ctx, namespace: &Namespace, plan: &Plan) -> Result<(), Error> {
    let key = namespace.key();
    let mut ops = Vec::new();
    let status = namespace.status.clone().unwrap_or_default();
    let (old, new) = (json!({"conditions": status.conditions}), json!({"conditions": plan.conditions}));
    if let Some(status) = patch::difference(&old, &new) {
        let patch = json!({"metadata": {"uid": namespace.metadata.uid}, "status": status});
        ops.push(Op::merge_status(key.clone(), patch));
    }
    if plan.finalize {
        let mut object = namespace.clone();
        // The conditions of this very batch have changed it.
        object.metadata.resource_version = None;
        let finalizers = object.spec.get_or_insert_default().finalizers.get_or_insert_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        ops.push(Op::Update { key, sub: Some("finalize"), object: object.to_value() });
    }
    write_all(ctx, ops).await
}
