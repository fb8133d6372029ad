//! Events for people: what a component did to an object, or why it could not.
//!
//! ```text
//!  emit --bounded queue--> correlate (same event? count; too many alike? combine; too many? drop) --batch--> create or patch
//! ```

mod correlate;
mod occurrence;
mod writer;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::mpsc;

use crate::typed::Typed;
use crate::{Chance, Client, Clock};
use correlate::Correlator;
use occurrence::Form;
pub use occurrence::Occurrence;
use writer::Writer;

/// How many events wait to be written; more are dropped, because an event must never hold up what it tells of.
const QUEUE: usize = 1000;

/// Writes events on behalf of one component. Cheap to clone; never blocks, never fails.
#[derive(Clone)]
pub struct EventRecorder {
    send: mpsc::Sender<Occurrence>,
    clock: Clock,
}

impl EventRecorder {
    /// For a controller or an agent: `component` as upstream names it (`deployment-controller`, `kubelet`), `host` the node, or empty.
    /// Must be called inside a tokio runtime; the writing task ends with the last clone of the recorder.
    pub fn new(client: Arc<dyn Client>, clock: Clock, component: &str, host: &str) -> EventRecorder {
        EventRecorder::with_chance(client, clock, Chance::unforeseen(), component, host)
    }

    /// The same, with a source of chance for the waits between attempts to write.
    pub fn with_chance(
        client: Arc<dyn Client>,
        clock: Clock,
        chance: Chance,
        component: &str,
        host: &str,
    ) -> EventRecorder {
        EventRecorder::start(client, clock, chance, Form::Counted, component, host)
    }

    /// For a component that reports through `events.k8s.io`, such as `default-scheduler`; `instance` is `default-scheduler-HOST`.
    pub fn reporting(
        client: Arc<dyn Client>,
        clock: Clock,
        controller: &str,
        instance: &str,
    ) -> EventRecorder {
        EventRecorder::start(client, clock, Chance::unforeseen(), Form::Series, controller, instance)
    }

    /// A recorder that drops everything.
    pub fn silent(clock: Clock) -> EventRecorder {
        EventRecorder { send: mpsc::channel(1).0, clock }
    }

    fn start(
        client: Arc<dyn Client>,
        clock: Clock,
        chance: Chance,
        form: Form,
        who: &str,
        at: &str,
    ) -> EventRecorder {
        let (send, receive) = mpsc::channel(QUEUE);
        let writer = Writer {
            client,
            clock: clock.clone(),
            chance,
            form,
            who: who.into(),
            at: at.into(),
            correlator: Correlator::default(),
        };
        tokio::spawn(writer.run(receive));
        EventRecorder { send, clock }
    }

    /// Tells something ordinary about an object.
    pub fn normal<T: Typed>(&self, about: &T, reason: &str, message: impl Into<String>) {
        self.emit(reference(about), "Normal", reason, "", message);
    }

    /// Tells something about an object that a person may have to act on.
    pub fn warning<T: Typed>(&self, about: &T, reason: &str, message: impl Into<String>) {
        self.emit(reference(about), "Warning", reason, "", message);
    }

    /// Tells something; `kind` is `Normal` or `Warning`, `action` matters to reporting components only.
    pub fn emit(
        &self,
        about: ObjectReference,
        kind: &'static str,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        self.tell(Occurrence {
            about,
            related: None,
            kind,
            reason: reason.into(),
            action: action.into(),
            message: message.into(),
            annotations: Vec::new(),
            at: self.clock.now(),
        });
    }

    fn tell(&self, occurrence: Occurrence) {
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.send.try_send(occurrence) {
            tracing::warn!(reason = lost.reason, message = lost.message, "too many events waiting; dropped");
        }
    }
}

/// What an event says about which object it is about.
pub fn reference<T: Typed>(object: &T) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(T::API_VERSION.into()),
        kind: Some(T::KIND.into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// What an event says about a pod's container: `spec.containers{name}`.
pub fn container_reference<T: Typed>(pod: &T, list: &str, container: &str) -> ObjectReference {
    ObjectReference { field_path: Some(format!("spec.{list}{{{container}}}")), ..reference(pod) }
}

/// An object that is known only through somebody's reference to it.
pub fn owner_reference(owner: &OwnerReference, namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}
