//! Empties a namespace that is being deleted, and lets it go once nothing is left in it.
//!
//! ```text
//! [Namespace] [every kind] --watch--> observe (list what is inside) --> plan
//!    --> delete what has not been asked to go | tell in conditions what is still there | /finalize
//! ```

mod conditions;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, KindRef, Object};
use coracle_client::{Action, Controller, Ctx, Error, Interest, Plan, Refusal, Store, Typed, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use self::plan::{Content, Observed, Piece, is_due};
use crate::{Shared, pods};

/// The controller's store.
pub struct Namespaces {
    namespaces: Store<Namespace>,
}

impl Namespaces {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> Namespaces {
        Namespaces { namespaces: shared.informers.store() }
    }
}

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";
    const WORKERS: usize = 4;
    type Observed = Observed;

    /// An object that is removed from, or made in, a namespace that is being deleted is a reason to look at it.
    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let it = self.clone();
        wakes.on_each::<Namespace>().on_every_kind(move |change| {
            let around = it.namespaces.get("", &change.object().key.namespace);
            around
                .filter(|namespace| is_due(namespace))
                .map(|namespace| namespace.key())
                .into_iter()
                .collect()
        })
    }

    /// Asks the server itself: what the stores do not show yet would stay behind for ever.
    async fn observe(&self, ctx: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get_key(key).filter(|namespace| is_due(namespace)) else {
            return Ok(None);
        };
        let mut contents = vec![content(ctx, &key.name, Pod::kind()).await?];
        if contents[0].pieces.is_empty() {
            // A kind that has just been defined may have objects here, too.
            let others = ctx.client().kinds_now().await?.into_iter();
            for kind in others.filter(|kind| kind.namespaced && *kind != Pod::kind()) {
                contents.push(content(ctx, &key.name, kind).await?);
            }
        }
        Ok(Some(Observed { namespace, contents }))
    }

    fn plan(observed: &Observed, now: Timestamp) -> Plan {
        plan::plan(observed, now)
    }

    fn refused(observed: &Observed, refusals: &[Refusal], now: Timestamp) -> Vec<Action> {
        plan::refused(observed, refusals, now)
    }
}

/// What a namespace holds of one kind.
async fn content(ctx: &Ctx, namespace: &str, kind: KindRef) -> Result<Content, Error> {
    let (objects, _) = ctx.client().list(&Interest::all(&kind).within(namespace)).await?;
    let graces = objects.iter().filter(|_| kind == Pod::kind()).filter_map(|pod| grace(pod));
    Ok(Content {
        grace: graces.max().unwrap_or_default(),
        pieces: objects.iter().map(|object| piece(object)).collect(),
        kind,
    })
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    metadata: ObjectMeta,
}

fn piece(object: &Object) -> Piece {
    let meta = object.decode::<Document>().map(|document| document.metadata).unwrap_or_default();
    Piece {
        key: object.key.clone(),
        is_going: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.unwrap_or_default(),
    }
}

/// How long a pod may take that has not ended.
fn grace(pod: &Object) -> Option<Duration> {
    let pod = Pod::from_json(&pod.json).ok().filter(|pod| !pods::is_finished(pod))?;
    let seconds = pod.spec.and_then(|spec| spec.termination_grace_period_seconds)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
