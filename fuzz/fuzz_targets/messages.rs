//! The messages of `coracle.v1`, of every kind, as they come over the network: decoded and converted as the server and the agent do.
//! The first byte says which.
#![no_main]

use coracle_api::decode::{FieldValidation, Format, Target, decode};
use coracle_api::kinds::Kinds;
use coracle_apiserver::state::selection::Selection;
use coracle_apiserver::write::operation::{Body, Operation};
use coracle_client::line::{frame_in, frame_out};
use coracle_client::{Event, Interest, Op, Write, messages};
use coracle_proto::v1 as pb;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    let kinds = Kinds::new();
    match which % 11 {
        0 => read(bytes, |request: pb::GetRequest| {
            let Ok(key) = messages::key_in(&kinds, request.key) else { return };
            assert_eq!(messages::key_in(&kinds, Some(messages::key_out(&key))).ok(), Some(key));
        }),
        1 => read(bytes, |request: pb::ListRequest| interest(&kinds, request.interest)),
        2 => read(bytes, |request: pb::WatchRequest| {
            request.interests.into_iter().for_each(|one| interest(&kinds, Some(one)));
        }),
        3 => read(bytes, |request: pb::WriteRequest| {
            for message in request.writes {
                if let Ok(write) = messages::write_in(&kinds, message) {
                    written(&kinds, write);
                }
            }
        }),
        4 => read(bytes, |request: pb::ReportRequest| {
            for message in request.verdicts {
                let Ok(verdict) = messages::verdict_in(&kinds, message) else { continue };
                let again = messages::verdict_in(&kinds, messages::verdict_out(&verdict)).expect("it is read again");
                assert!(coracle_fuzz::has_fraction(&verdict.1) || again == verdict);
            }
        }),
        5 => read(bytes, |message: pb::Frame| {
            let Ok(frame) = frame_in(message) else { return };
            assert_eq!(frame_in(frame_out(frame.clone())).ok(), Some(frame));
        }),
        6 => read(bytes, |answer: pb::GetResponse| {
            let _ = answer.object.map(|object| messages::object_in(&kinds, object));
        }),
        7 => read(bytes, |answer: pb::ListResponse| {
            let _: Vec<_> =
                answer.objects.into_iter().map(|object| messages::object_in(&kinds, object)).collect();
        }),
        8 => read(bytes, |message: pb::WatchEvent| {
            let Ok(event) = messages::event_in(&kinds, message) else { return };
            let again = messages::event_in(&kinds, messages::event_out(&event)).expect("what was written is read");
            assert!(same(&event, &again), "{event:?} {again:?}");
        }),
        9 => read(bytes, |answer: pb::WriteResponse| {
            for outcome in answer.outcomes {
                if let Ok(outcome) = messages::outcome_in(&kinds, outcome) {
                    let _ = messages::outcome_in(&kinds, messages::outcome_out(&outcome)).expect("it is read again");
                }
            }
        }),
        _ => {
            read(bytes, |_: pb::JoinRequest| {});
            read(bytes, |_: pb::ConnectRequest| {});
            read(bytes, |_: pb::Open| {});
        }
    }
});

/// Decodes a message; what is none is refused below us.
fn read<M: Message + Default>(bytes: &[u8], then: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        then(message);
    }
}

/// What a list or a watch is about, as it is looked up.
fn interest(kinds: &Kinds, message: Option<pb::Interest>) {
    let Ok(interest) = messages::interest_in(kinds, message) else { return };
    assert_eq!(messages::interest_in(kinds, Some(messages::interest_out(&interest))).ok().as_ref(), Some(&interest));
    let Interest { kind, namespace, labels, fields } = interest;
    match Selection::parse(kind, namespace, &labels, &fields) {
        Ok(selection) => drop(selection.ns_name()),
        Err(status) => coracle_fuzz::refused(&status),
    }
}

/// A write goes the way of every body.
fn written(kinds: &Kinds, write: Write) {
    let again = messages::write_in(kinds, messages::write_out(&write)).expect("it is read again");
    let told = match &write.op {
        Op::Create { object, .. } | Op::Update { object, .. } => object,
        Op::Patch { patch, .. } => patch,
        Op::Delete { .. } => &Value::Null,
    };
    assert!(coracle_fuzz::has_fraction(told) || again == write, "{again:?} {write:?}");
    let (kind, body) = match Operation::from(write.op) {
        Operation::Create { kind, sub: None, body, .. } => (kind, body),
        Operation::Update { key, sub: None, body } => (key.kind, body),
        _ => return,
    };
    let Body::Tree(object) = body else { return };
    let text = object.to_string();
    match decode(&Target::of(&kind), Format::Json, text.as_bytes(), FieldValidation::Ignore) {
        Ok(decoded) => coracle_fuzz::pass(&kind, &decoded),
        Err(status) => coracle_fuzz::refused(&status),
    }
}

fn same(a: &Event, b: &Event) -> bool {
    format!("{a:?}") == format!("{b:?}")
}
