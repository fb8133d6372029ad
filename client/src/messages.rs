//! The client's types as messages of `coracle.v1`, and back. What comes in is foreign: everything is checked.

use std::sync::Arc;

use coracle_api::kinds::{Definition, Kinds};
use coracle_api::{Key, Kind, KindRef, Object, Revision, Status};
use coracle_proto::v1 as pb;
use serde_json::Value;

use crate::{Error, Event, Interest, Op, PatchForm, Propagation, Write};

/// A message that makes no sense here.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A kind that this version does not know.
    #[error("unknown resource {0:?}")]
    UnknownKind(String),
    /// A subresource that the kind does not have.
    #[error("unknown subresource {0:?}")]
    UnknownSubresource(String),
    /// A word that is none of the known.
    #[error("unknown {what} {word:?}")]
    UnknownWord {
        /// What it should be.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// A kind that cannot be served beside the others.
    #[error("a kind that cannot be: {0}")]
    BadKind(String),
    /// Bytes that are no JSON.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<MessageError> for Error {
    fn from(error: MessageError) -> Error {
        Error::Malformed(error.to_string())
    }
}

fn resource(kind: &Kind) -> pb::Resource {
    pb::Resource { group: kind.group().into(), version: kind.version().into(), plural: kind.plural().into() }
}

fn kind(kinds: &Kinds, resource: Option<pb::Resource>) -> Result<KindRef, MessageError> {
    let r = resource.ok_or(MessageError::Missing("resource"))?;
    kinds
        .by_resource(&r.group, &r.version, &r.plural)
        .ok_or_else(|| MessageError::UnknownKind(format!("{}/{}/{}", r.group, r.version, r.plural)))
}

/// A key as a message.
pub fn key_out(key: &Key) -> pb::Key {
    pb::Key { resource: Some(resource(&key.kind)), namespace: key.namespace.clone(), name: key.name.clone() }
}

/// A message as a key.
///
/// # Errors
/// Unknown kinds.
pub fn key_in(kinds: &Kinds, key: Option<pb::Key>) -> Result<Key, MessageError> {
    let key = key.ok_or(MessageError::Missing("key"))?;
    Ok(Key::new(kind(kinds, key.resource)?, key.namespace, key.name))
}

/// An object as a message; its bytes are shared, not copied.
pub fn object_out(object: &Object) -> pb::Object {
    pb::Object { key: Some(key_out(&object.key)), revision: object.revision.0, json: object.json.clone() }
}

/// A message as an object.
///
/// # Errors
/// Unknown kinds.
pub fn object_in(kinds: &Kinds, object: pb::Object) -> Result<Arc<Object>, MessageError> {
    let key = key_in(kinds, object.key)?;
    Ok(Arc::new(Object { key, revision: Revision(object.revision), json: object.json }))
}

/// An interest as a message.
pub fn interest_out(interest: &Interest) -> pb::Interest {
    pb::Interest {
        resource: Some(resource(&interest.kind)),
        namespace: interest.namespace.clone().unwrap_or_default(),
        label_selector: interest.labels.clone(),
        field_selector: interest.fields.clone(),
    }
}

/// A message as an interest.
///
/// # Errors
/// Unknown kinds.
pub fn interest_in(kinds: &Kinds, interest: Option<pb::Interest>) -> Result<Interest, MessageError> {
    let interest = interest.ok_or(MessageError::Missing("interest"))?;
    Ok(Interest {
        kind: kind(kinds, interest.resource)?,
        namespace: (!interest.namespace.is_empty()).then_some(interest.namespace),
        labels: interest.label_selector,
        fields: interest.field_selector,
    })
}

/// An event as a message.
pub fn event_out(event: &Event) -> pb::WatchEvent {
    use pb::watch_event::Type;
    let (kind, object) = match event {
        Event::Added(object) => (Type::Added, Some(object)),
        Event::Modified(object) => (Type::Modified, Some(object)),
        Event::Deleted(object) => (Type::Deleted, Some(object)),
        Event::Bookmark(_) => (Type::Bookmark, None),
    };
    pb::WatchEvent {
        r#type: kind.into(),
        revision: event.revision().0,
        object: object.map(|object| object_out(object)),
    }
}

/// A message as an event.
///
/// # Errors
/// An event of a type that this version does not know, or without its object.
pub fn event_in(kinds: &Kinds, event: pb::WatchEvent) -> Result<Event, MessageError> {
    use pb::watch_event::Type;
    let object = || object_in(kinds, event.object.clone().ok_or(MessageError::Missing("object"))?);
    match event.r#type() {
        Type::Bookmark => Ok(Event::Bookmark(Revision(event.revision))),
        Type::Added => Ok(Event::Added(object()?)),
        Type::Modified => Ok(Event::Modified(object()?)),
        Type::Deleted => Ok(Event::Deleted(object()?)),
    }
}

fn json_out(value: &Value) -> bytes::Bytes {
    value.to_string().into()
}

fn json_in(bytes: &[u8]) -> Result<Value, MessageError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn sub_in(kind: &Kind, name: &str) -> Result<Option<&'static str>, MessageError> {
    if name.is_empty() {
        return Ok(None);
    }
    kind.subresource(name)
        .map(|sub| Some(sub.name))
        .ok_or_else(|| MessageError::UnknownSubresource(name.into()))
}

/// A write as a message.
pub fn write_out(write: &Write) -> pb::Write {
    use pb::write::Op as Out;
    let sub = |sub: &Option<&'static str>| sub.unwrap_or_default().to_owned();
    let op = match &write.op {
        Op::Create { kind, namespace, sub, object } => {
            let (name, sub) = sub.clone().unwrap_or_default();
            Out::Create(pb::Create {
                resource: Some(resource(kind)),
                namespace: namespace.clone(),
                name,
                subresource: sub.into(),
                json: json_out(object),
            })
        }
        Op::Update { key, sub: part, object } => Out::Update(pb::Update {
            key: Some(key_out(key)),
            subresource: sub(part),
            json: json_out(object),
        }),
        Op::Patch { key, sub: part, form, patch } => Out::Patch(pb::Patch {
            key: Some(key_out(key)),
            subresource: sub(part),
            r#type: form.media_type().into(),
            json: json_out(patch),
        }),
        Op::Delete { key, uid, revision, grace_seconds, propagation } => Out::Delete(pb::Delete {
            key: Some(key_out(key)),
            uid: uid.clone().unwrap_or_default(),
            revision: revision.unwrap_or_default().0,
            grace_period_seconds: *grace_seconds,
            propagation_policy: propagation.map(Propagation::as_str).unwrap_or_default().into(),
        }),
    };
    pb::Write {
        causes: write.causes.iter().map(|cause| cause.0).collect(),
        actor: write.actor.clone(),
        op: Some(op),
    }
}

/// A message as a write.
///
/// # Errors
/// Unknown kinds, subresources, words; malformed JSON.
pub fn write_in(kinds: &Kinds, write: pb::Write) -> Result<Write, MessageError> {
    use pb::write::Op as In;
    let op = match write.op.ok_or(MessageError::Missing("op"))? {
        In::Create(create) => {
            let kind = kind(kinds, create.resource)?;
            let sub = sub_in(&kind, &create.subresource)?.map(|sub| (create.name, sub));
            Op::Create { kind, namespace: create.namespace, sub, object: json_in(&create.json)? }
        }
        In::Update(update) => {
            let key = key_in(kinds, update.key)?;
            let sub = sub_in(&key.kind, &update.subresource)?;
            Op::Update { key, sub, object: json_in(&update.json)? }
        }
        In::Patch(patch) => {
            let key = key_in(kinds, patch.key)?;
            let sub = sub_in(&key.kind, &patch.subresource)?;
            let form = PatchForm::from_media_type(&patch.r#type);
            let form = form.ok_or(MessageError::UnknownWord { what: "patch type", word: patch.r#type })?;
            Op::Patch { key, sub, form, patch: json_in(&patch.json)? }
        }
        In::Delete(delete) => {
            let policy = delete.propagation_policy;
            let propagation = match policy.as_str() {
                "" => None,
                word => Some(Propagation::from_word(word).ok_or_else(|| MessageError::UnknownWord {
                    what: "propagation policy",
                    word: policy.clone(),
                })?),
            };
            Op::Delete {
                key: key_in(kinds, delete.key)?,
                uid: (!delete.uid.is_empty()).then_some(delete.uid),
                revision: (delete.revision > 0).then_some(Revision(delete.revision)),
                grace_seconds: delete.grace_period_seconds,
                propagation,
            }
        }
    };
    let causes = write.causes.into_iter().map(Revision).collect();
    Ok(Write { op, causes, actor: write.actor })
}

/// The outcome of one write as a message.
pub fn outcome_out(outcome: &Result<Arc<Object>, Status>) -> pb::Outcome {
    use pb::outcome::Result as Out;
    let result = match outcome {
        Ok(object) => Out::Object(object_out(object)),
        Err(status) => Out::Status(serde_json::to_vec(status).unwrap_or_default().into()),
    };
    pb::Outcome { result: Some(result) }
}

/// A message as the outcome of one write.
///
/// # Errors
/// Neither object nor status, or one that cannot be read.
pub fn outcome_in(kinds: &Kinds, outcome: pb::Outcome) -> Result<Result<Arc<Object>, Status>, MessageError> {
    use pb::outcome::Result as In;
    match outcome.result.ok_or(MessageError::Missing("result"))? {
        In::Object(object) => Ok(Ok(object_in(kinds, object)?)),
        In::Status(json) => Ok(Err(serde_json::from_slice(&json)?)),
    }
}

/// A verdict as a message.
pub fn verdict_out((pod, verdict): &(Key, Value)) -> pb::Verdict {
    pb::Verdict { pod: Some(key_out(pod)), json: json_out(verdict) }
}

/// A message as a verdict.
///
/// # Errors
/// Unknown kinds; malformed JSON.
pub fn verdict_in(kinds: &Kinds, verdict: pb::Verdict) -> Result<(Key, Value), MessageError> {
    Ok((key_in(kinds, verdict.pod)?, json_in(&verdict.json)?))
}

/// The kinds of a table that were defined at run time, as a message.
pub fn kinds_out(kinds: &Kinds) -> pb::KindsResponse {
    let kinds = kinds.kept().into_iter().filter(|kind| kind.is_defined());
    pb::KindsResponse { kinds: kinds.map(|kind| defined_out(&kind)).collect() }
}

fn defined_out(kind: &Kind) -> pb::DefinedKind {
    pb::DefinedKind {
        resource: Some(resource(kind)),
        kind: kind.kind().into(),
        namespaced: kind.namespaced,
        has_status: kind.has_subresource("status"),
        has_scale: kind.has_subresource("scale"),
    }
}

/// Makes the kinds of a table that were defined at run time those of a message.
///
/// # Errors
/// A kind without a name, or one that has the names of another.
pub fn kinds_in(kinds: &Kinds, message: pb::KindsResponse) -> Result<(), MessageError> {
    let known = kinds_out(kinds).kinds;
    for gone in known.iter().filter(|kind| !message.kinds.contains(kind)) {
        if let Ok(row) = self::kind(kinds, gone.resource.clone()) {
            kinds.remove(&row);
        }
    }
    for new in message.kinds.into_iter().filter(|kind| !known.contains(kind)) {
        kinds.add(defined_in(new)?).map_err(|taken| MessageError::BadKind(taken.to_string()))?;
    }
    Ok(())
}

/// A row that knows what a component needs.
fn defined_in(kind: pb::DefinedKind) -> Result<Kind, MessageError> {
    let resource = kind.resource.ok_or(MessageError::Missing("resource"))?;
    let paths = (".spec.replicas".to_owned(), ".status.replicas".to_owned(), None);
    let definition = Definition {
        group: resource.group,
        version: resource.version,
        plural: resource.plural,
        kind: kind.kind,
        namespaced: kind.namespaced,
        status: kind.has_status,
        scale: kind.has_scale.then_some(paths),
        schema: serde_json::json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        ..Definition::default()
    };
    definition.row().map_err(MessageError::BadKind)
}

/// Why a call failed, as gRPC says it. A refusal travels whole, as the JSON of its `Status`.
pub fn error_out(error: &Error) -> tonic::Status {
    use tonic::Code;
    match error {
        Error::Expired { .. } => tonic::Status::new(Code::OutOfRange, error.to_string()),
        Error::Refused(status) => {
            let details = serde_json::to_vec(status).unwrap_or_default();
            tonic::Status::with_details(Code::FailedPrecondition, status.message.clone(), details.into())
        }
        Error::Unreachable(why) | Error::NotSynced(why) => tonic::Status::new(Code::Unavailable, why.clone()),
        Error::Malformed(why) | Error::Credentials(why) => {
            tonic::Status::new(Code::InvalidArgument, why.clone())
        }
        Error::Held | Error::Panicked => tonic::Status::new(Code::Internal, error.to_string()),
    }
}

/// What gRPC says, as why a call failed. `since` is where a watch was to start.
pub fn error_in(status: &tonic::Status, since: Revision) -> Error {
    use tonic::Code;
    if let Ok(refusal) = serde_json::from_slice::<Status>(status.details()) {
        return Error::Refused(refusal);
    }
    let why = status.message().to_owned();
    match status.code() {
        Code::OutOfRange => Error::Expired { since },
        Code::Unauthenticated => Error::Refused(Status::failure(401, "Unauthorized", why)),
        Code::PermissionDenied => Error::Refused(Status::failure(403, "Forbidden", why)),
        Code::InvalidArgument | Code::Unimplemented => Error::Malformed(why),
        _ => Error::Unreachable(why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use coracle_api::kinds;

    use super::*;

    #[test]
    fn writes_survive_the_wire() {
        let pod = Key::new(&kinds::POD, "a", "b");
        let ops = [
            Op::Create {
                kind: kinds::POD.handle(),
                namespace: "a".into(),
                sub: None,
                object: json!({"metadata": {"name": "b"}}),
            },
            Op::bind(&pod, "u", "n1"),
            Op::Update { key: pod.clone(), sub: Some("status"), object: json!({}) },
            Op::merge_status(pod.clone(), json!({"status": {"phase": "Running"}})),
            Op::delete_key(pod.clone()).with_grace(0).with_propagation(Propagation::Orphan),
            Op::Delete {
                key: pod,
                uid: Some("u".into()),
                revision: Some(Revision(7)),
                grace_seconds: None,
                propagation: None,
            },
        ];
        for op in ops {
            let write = Write { op, causes: vec![Revision(3)], actor: "x".into() };
            assert_eq!(write_in(&Kinds::new(), write_out(&write)).unwrap(), write);
        }
    }

    #[test]
    fn errors_survive_the_wire() {
        let since = Revision(4);
        let errors = [
            Error::Expired { since },
            Error::Refused(Status::not_found(&kinds::POD, "x")),
            Error::Unreachable("gone".into()),
        ];
        for error in errors {
            let back = error_in(&error_out(&error), since);
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }
}
