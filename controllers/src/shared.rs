//! What all controllers of a process share.

use std::sync::Arc;

use coracle_client::{Client, Clock, EventRecorder, Gate, Informers, Runner};

use crate::Config;

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

    /// A recorder of events in this component's name.
    pub fn events(&self, component: &str) -> EventRecorder {
        EventRecorder::new(self.client.clone(), self.clock.clone(), component, "")
    }
}
