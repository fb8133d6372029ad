//! What all controllers of a process share.

use std::pin::Pin;
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{
    Client, Clock, Controller, Ctx, Error, EventRecorder, Gate, Informers, Op, Requeue, Runner,
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// One door to the cluster, one copy of its objects, one clock and one gate for all controllers.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The door.
    pub client: Arc<dyn Client>,
    /// The copies.
    pub informers: Informers,
    /// The time.
    pub clock: Clock,
    /// Where plans can be held.
    pub gate: Gate,
    /// What was asked for.
    pub config: Arc<Config>,
}

impl Shared {
    /// A runner for the controller of this name.
    pub fn runner(&self, name: &'static str) -> Runner {
        Runner::new(name, self.informers.clone(), self.client.clone(), self.clock.clone())
            .gate(self.gate.clone())
    }

    /// Lets a controller look at its keys until `stop`.
    pub async fn drive<C: Controller>(self, controller: C, stop: CancellationToken) {
        let events = self.events(C::REPORTS_AS);
        self.runner(C::NAME).drive(Arc::new(controller), events, stop).await;
    }

    /// A recorder of events in this component's name.
    pub fn events(&self, component: &str) -> EventRecorder {
        EventRecorder::new(self.client.clone(), self.clock.clone(), component, "")
    }
}

/// The most writes in one batch: large enough to share a flush, small enough to let others in between.
pub(crate) const BATCH: usize = 500;

/// One look of a controller at one key.
type Look<'a> = Pin<Box<dyn Future<Output = Result<Requeue, Error>> + Send + 'a>>;

/// Lets a controller look at its runner's keys until `stop`.
pub(crate) async fn drive<C: Send + Sync + 'static>(
    runner: Runner,
    controller: Arc<C>,
    stop: CancellationToken,
    look: for<'a> fn(&'a C, &'a Ctx, &'a Key) -> Look<'a>,
) {
    let reconcile = move |ctx: Ctx, key: Key| {
        let controller = controller.clone();
        async move { look(&controller, &ctx, &key).await }
    };
    runner.run(stop, reconcile).await;
}

/// Writes, in batches. What is gone meanwhile needs no write; any other refusal is an error, once all has been tried.
pub(crate) async fn write_all(ctx: &Ctx, mut ops: Vec<Op>) -> Result<(), Error> {
    let mut refused = None;
    while !ops.is_empty() {
        let rest = ops.split_off(ops.len().min(BATCH));
        let outcomes = ctx.write(std::mem::replace(&mut ops, rest)).await?;
        refused = outcomes.into_iter().filter_map(Result::err).rfind(|status| status.code != 404).or(refused);
    }
    refused.map_or(Ok(()), |status| Err(Error::Refused(status)))
}
