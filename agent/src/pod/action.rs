//! The actions that a step may ask the worker for.

use crate::event_type::EventType;
use crate::runtime::Limits;

/// Something to be done by the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Mount the volumes, take an address, start the sandbox.
    StartSandbox {
        /// Counts from 0.
        attempt: u32,
    },
    /// Remove the sandbox.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Make a container and start it.
    Start {
        /// Its name.
        name: String,
        /// Counts from 0.
        attempt: u32,
        /// The wait that will follow its end, in seconds.
        backoff: u64,
    },
    /// Give up a start that is under way.
    Cancel {
        /// The container's name, or that of the sandbox.
        name: String,
    },
    /// Run the container's preStop hook, ask it to end, kill it at the deadline.
    Stop {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// What the event says.
        message: String,
        /// How long it may take.
        grace: u64,
        /// Whether another follows, because the container's definition has changed.
        replaced: bool,
    },
    /// Change what a container may use while it runs.
    Resize {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// From now on.
        limits: Limits,
    },
    /// Remove a container that is not needed any more.
    Remove {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// Emit an event, once.
    Emit {
        /// About this container; `None`: the pod.
        container: Option<String>,
        /// What the event is emitted once for: a container's id, or a reason.
        once: String,
        /// Whether it is ordinary.
        event_type: EventType,
        /// The event's reason: one word.
        reason: &'static str,
        /// The event's message.
        message: String,
    },
    /// Nothing of the pod runs here any more: the API may remove it.
    Finish,
}
