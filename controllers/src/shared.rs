//! What all controllers of a process share.

use std::sync::Arc;

use coracle_client::{Client, Clock, Controller, EventRecorder, Gate, Informers, Runner};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// One client, one set of informers, one clock and one gate for all controllers.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Reads and writes objects.
    pub client: Arc<dyn Client>,
    /// Keep copies of the objects that the controllers read.
    pub informers: Informers,
    /// Tells the time; tests set it.
    pub clock: Clock,
    /// Where plans can be held.
    pub gate: Gate,
    /// The settings.
    pub config: Arc<Config>,
}

impl Shared {
    /// Makes a controller and lets it look at its keys until `stop`. It waits for the kinds that it asks for, and for no others.
    pub async fn run<C: Controller>(self, make: fn(&Shared) -> C, stop: CancellationToken) {
        let own = Shared { informers: self.informers.part(), ..self };
        let controller = make(&own);
        let runner = Runner::new(own.client, own.informers, own.clock).gate(own.gate);
        runner.drive(controller, stop).await;
    }

    /// A recorder of events in this component's name.
    pub fn events(&self, component: &str) -> EventRecorder {
        EventRecorder::new(self.client.clone(), self.clock.clone(), component, "")
    }
}
