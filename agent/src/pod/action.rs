//! What a step may ask for.

use crate::context::Tone;
use crate::runtime::Limits;

/// Something to be done. The worker does it and says when it is over.
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
    /// Give up what is being started.
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
    /// Remove a container that nobody needs any more.
    Remove {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// Say something, once.
    Tell {
        /// About this container; `None`: the pod.
        container: Option<String>,
        /// What it is told once for: a container's id, or a reason.
        once: String,
        /// Whether it is ordinary.
        tone: Tone,
        /// A word.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// All is over: let the API forget the pod.
    Finish,
}
