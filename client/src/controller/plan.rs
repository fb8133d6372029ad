//! What a controller has decided: data, until the runner carries it out.

use std::fmt;
use std::time::Duration;

use coracle_api::Status;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::Op;
use crate::recorder::reference;
use crate::typed::Typed;

/// What to do, and when to look again even if nothing changes. Without actions the key has converged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// `None`: when something changes.
    pub look_again: Option<Duration>,
}

impl Plan {
    /// Does this, and looks again when something changes.
    pub fn of(actions: Vec<Action>) -> Plan {
        Plan { actions, look_again: None }
    }

    /// The same, with another look after this time at the latest.
    #[must_use]
    pub fn and_look_again(mut self, after: Option<Duration>) -> Plan {
        self.look_again = self.look_again.into_iter().chain(after).min();
        self
    }
}

/// One thing to do: a write, the events that tell people of it, and what follows once it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub(super) op: Option<Op>,
    /// How often; in batches that double in size where it is more than once.
    pub(super) times: usize,
    pub(super) done: Option<NewEvent>,
    pub(super) refused: Option<NewEvent>,
    pub(super) fine_if: Option<&'static str>,
    pub(super) then: Vec<Action>,
}

impl Action {
    /// A write.
    pub fn write(op: Op) -> Action {
        Action { op: Some(op), times: 1, done: None, refused: None, fine_if: None, then: Vec::new() }
    }

    /// Makes this many objects from one that has a `generateName`. They go out in batches of 1, 2, 4, ...: if the first
    /// is refused, the others are not tried.
    pub fn create_many(op: Op, times: usize) -> Action {
        Action { times, ..Action::write(op) }
    }

    /// An event alone.
    pub fn event(event: NewEvent) -> Action {
        Action { op: None, times: 1, done: Some(event), refused: None, fine_if: None, then: Vec::new() }
    }

    /// Records an event for each object once the action is done. `{name}` in the message stands for the name of what
    /// was written.
    #[must_use]
    pub fn with_event(mut self, event: NewEvent) -> Action {
        self.done = Some(event);
        self
    }

    /// Records an event when the action is refused. `{refusal}` in the message stands for the server's message.
    #[must_use]
    pub fn with_event_if_refused(mut self, event: NewEvent) -> Action {
        self.refused = Some(event);
        self
    }

    /// A refusal for this reason, such as `AlreadyExists`, means that there is nothing left to do.
    #[must_use]
    pub fn fine_if(mut self, reason: &'static str) -> Action {
        self.fine_if = Some(reason);
        self
    }

    /// An action that is carried out after this one, and only if this one was done.
    #[must_use]
    pub fn then(mut self, action: Action) -> Action {
        self.then.push(action);
        self
    }

    /// What it writes, if it is a write.
    pub fn op(&self) -> Option<&Op> {
        self.op.as_ref()
    }

    /// How often it is done.
    pub fn times(&self) -> usize {
        self.times
    }

    /// What follows it.
    pub fn follow_ups(&self) -> &[Action] {
        &self.then
    }
}

/// As the gate shows it where it holds a plan: `create 10 pods`, `patch deployments.apps/default/web, then create pods/default/x`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.op, &self.done) {
            (Some(op), _) if self.times > 1 => {
                write!(f, "{} {} {}", op.verb(), self.times, op.key().kind.plural())?;
            }
            (Some(op), _) => {
                let key = op.key();
                match key.name.as_str() {
                    "" => write!(f, "{} 1 {}", op.verb(), key.kind.singular())?,
                    _ => write!(f, "{} {key}", op.verb())?,
                }
            }
            (None, Some(event)) => write!(f, "tell {}", event.reason)?,
            (None, None) => write!(f, "nothing")?,
        }
        self.then.iter().try_for_each(|action| write!(f, ", then {action}"))
    }
}

/// An `Event` object that the runner makes for people to read.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub(super) about: ObjectReference,
    /// `Normal` or `Warning`.
    pub(super) kind: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl NewEvent {
    /// Something ordinary.
    pub fn normal<K: Typed>(about: &K, reason: &'static str, message: impl Into<String>) -> NewEvent {
        NewEvent { about: reference(about), kind: "Normal", reason, message: message.into() }
    }

    /// Something that a person may have to act on.
    pub fn warning<K: Typed>(about: &K, reason: &'static str, message: impl Into<String>) -> NewEvent {
        NewEvent { about: reference(about), kind: "Warning", reason, message: message.into() }
    }

    /// The same about the object in whatever version, as upstream tells of nodes.
    #[must_use]
    pub fn of_any_version(mut self) -> NewEvent {
        self.about.resource_version = None;
        self
    }

    /// The word for machines, such as `SuccessfulCreate`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// A write that the server said no to.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The action that it was part of.
    pub action: Action,
    /// The server's answer.
    pub status: Status,
}
