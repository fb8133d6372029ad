//! What stands where in etcd, and what is asked of it. Pure.
//!
//! ```text
//!  PREFIX/format                      that this is a store, and of which version
//!  PREFIX/revision                    the last revision; every write compares and sets it, so the cluster has one counter
//!  PREFIX/log/00000000000000000010    a frame: the changes of one commit from revision 10 on, after a line with its id
//!  PREFIX/floor                       the revision up to which `base` holds everything and `log` nothing
//!  PREFIX/base/GROUP/PLURAL/NAMESPACE/NAME    an object as the change that led to it
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Key, Object, Revision};
use coracle_proto::etcd as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

use super::super::frame::{Frame, encode, frames};
use super::super::{Committed, Verb, record};
use crate::entry::encoding::renumbered;

/// What `format` says.
pub const FORMAT: &str = "coracle etcd store 1";
/// The length of the id at the head of a frame's value, with its newline.
const ID: usize = 33;

/// The keys below a prefix.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: String,
}

impl Layout {
    /// Below a prefix, which begins with a slash and does not end with one.
    pub fn new(prefix: &str) -> Layout {
        let prefix = prefix.trim_matches('/');
        Layout { prefix: format!("/{prefix}") }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn format(&self) -> Bytes {
        format!("{}/format", self.prefix).into()
    }

    pub fn revision(&self) -> Bytes {
        format!("{}/revision", self.prefix).into()
    }

    pub fn floor(&self) -> Bytes {
        format!("{}/floor", self.prefix).into()
    }

    /// The frame that begins with a revision.
    pub fn frame(&self, first: Revision) -> Bytes {
        format!("{}/log/{:020}", self.prefix, first.0).into()
    }

    /// All frames from this one on: first key, and the first after them.
    pub fn frames_from(&self, first: Revision) -> (Bytes, Bytes) {
        (self.frame(first), format!("{}/log0", self.prefix).into())
    }

    /// An object of the base.
    pub fn base(&self, key: &Key) -> Bytes {
        let base_key = record::base_key(key);
        [self.prefix.as_bytes(), b"/base/", &base_key[1..]].concat().into()
    }

    /// The whole base.
    pub fn whole_base(&self) -> (Bytes, Bytes) {
        (format!("{}/base/", self.prefix).into(), format!("{}/base0", self.prefix).into())
    }

    /// A commit: it is made if nobody has written since the counter was set at etcd's revision `counter`. Otherwise the answer
    /// is what was written since.
    pub fn commit(&self, counter: i64, first: Revision, last: Revision, value: Bytes) -> pb::TxnRequest {
        pb::TxnRequest {
            compare: vec![unchanged(self.revision(), counter)],
            success: vec![put(self.revision(), last.0.to_string().into()), put(self.frame(first), value)],
            failure: self.news(first),
        }
    }

    /// Asks what there is from a revision on. The answer is read by [`News::of`].
    pub fn news(&self, first: Revision) -> Vec<pb::RequestOp> {
        let (key, end) = self.frames_from(first);
        vec![get(self.floor()), get(self.revision()), range(key, end, PAGE, 0)]
    }

    /// Makes an empty store where there is none.
    pub fn found(&self, floor: Revision) -> pb::TxnRequest {
        let text = |revision: Revision| Bytes::from(revision.0.to_string());
        pb::TxnRequest {
            compare: [self.format(), self.revision(), self.floor()].map(|key| unchanged(key, 0)).into(),
            success: vec![
                put(self.format(), FORMAT.into()),
                put(self.revision(), text(floor)),
                put(self.floor(), text(floor)),
            ],
            failure: Vec::new(),
        }
    }

    /// Takes frames into the base, if the floor is still what it was at etcd's revision `counter`. The frames are those from the floor to
    /// `last`, and their changes come in order.
    pub fn fold(&self, counter: i64, last: Revision, changes: &[Committed]) -> pb::TxnRequest {
        // Of each object only what it came to: no key may be written twice in one step.
        let latest: BTreeMap<Bytes, &Committed> =
            changes.iter().map(|change| (self.base(&change.object.key), change)).collect();
        let mut success: Vec<pb::RequestOp> = latest
            .into_iter()
            .map(|(key, change)| match change.verb {
                Verb::Delete => delete(key, Bytes::new()),
                Verb::Create | Verb::Update => {
                    let mut value = Vec::with_capacity(change.object.json.len() + 512);
                    record::encode(change, &mut value);
                    put(key, value.into())
                }
            })
            .collect();
        success.push(delete(self.frame(Revision(0)), self.frame(Revision(last.0 + 1))));
        success.push(put(self.floor(), last.0.to_string().into()));
        pb::TxnRequest { compare: vec![unchanged(self.floor(), counter)], success, failure: Vec::new() }
    }
}

/// The answer to [`Layout::news`].
pub struct News<'a> {
    pub floor: Option<Revision>,
    /// The key that is the counter.
    pub counter: Option<&'a pb::KeyValue>,
    /// The next frames, in order.
    pub frames: &'a [pb::KeyValue],
    /// Whether there are more.
    pub more: bool,
}

impl News<'_> {
    pub fn of(response: &pb::TxnResponse) -> News<'_> {
        let (frames, more) = found(response, 2);
        let first = |step| found(response, step).0.first();
        News { floor: number(first(0)), counter: first(1), frames, more }
    }
}

/// How many keys one answer brings.
pub const PAGE: i64 = 64;

/// The value of a frame's key: an id, by which whoever wrote it knows it again, and the frame.
pub fn value(id: &str, changes: &[Committed]) -> Bytes {
    let mut framed = Vec::new();
    encode(&without_repeats(changes), &mut framed);
    [id.as_bytes(), b"\n", &framed].concat().into()
}

/// What is marked and removed in one commit is the same object twice. The second time it is left out, so that whatever could be written
/// can be removed.
fn without_repeats(changes: &[Committed]) -> Cow<'_, [Committed]> {
    let is_repeated = |at: usize| {
        let change = &changes[at];
        let again =
            |earlier: &Committed| again(&earlier.object, change.object.revision).json == change.object.json;
        change.verb == Verb::Delete && earlier(&changes[..at], change).is_some_and(again)
    };
    let repeated: Vec<usize> = (1..changes.len()).filter(|at| is_repeated(*at)).collect();
    if repeated.is_empty() {
        return changes.into();
    }
    let mut without = changes.to_vec();
    for at in repeated {
        let object = Object { json: Bytes::new(), ..(*without[at].object).clone() };
        without[at].object = Arc::new(object);
    }
    without.into()
}

/// The change before, of the same object.
fn earlier<'a>(changes: &'a [Committed], change: &Committed) -> Option<&'a Committed> {
    changes.iter().rev().find(|earlier| earlier.object.key == change.object.key)
}

/// The same object at another revision.
fn again(object: &Object, revision: Revision) -> Object {
    renumbered(Verb::Delete.event(), object, revision).0
}

/// What [`value`] made.
#[derive(Debug)]
pub struct Found {
    pub id: String,
    pub first: Revision,
    pub changes: Vec<Committed>,
}

/// The first revision of what [`value`] made.
///
/// # Errors
/// As [`read`].
pub fn first(value: &[u8]) -> Result<Revision, String> {
    Ok(frame(value)?.first)
}

fn frame(value: &[u8]) -> Result<Frame<'_>, String> {
    let bytes = value.get(ID..).unwrap_or_default();
    Ok(frames(bytes).next().filter(|frame| frame.end == bytes.len()).ok_or("a broken frame")?)
}

/// Reads what [`value`] made.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn read(value: &[u8]) -> Result<Found, String> {
    let id =
        value.get(..ID - 1).and_then(|id| std::str::from_utf8(id).ok()).ok_or("a frame without an id")?;
    let frame = frame(value)?;
    let mut changes: Vec<Committed> = Vec::new();
    frame.read(&mut |mut change| {
        if change.object.json.is_empty() {
            let earlier = earlier(&changes, &change).ok_or("a change without an object")?;
            change.object = Arc::new(again(&earlier.object, change.object.revision));
        }
        changes.push(change);
        Ok(())
    })?;
    Ok(Found { id: id.to_owned(), first: frame.first, changes })
}

/// A number that stands alone in a value.
pub fn number(kv: Option<&pb::KeyValue>) -> Option<Revision> {
    std::str::from_utf8(&kv?.value).ok()?.parse().ok().map(Revision)
}

/// Holds while a key is as etcd's revision left it; with 0: while it is not there.
fn unchanged(key: Bytes, revision: i64) -> pb::Compare {
    let (result, target) = (CompareResult::Equal.into(), CompareTarget::Mod.into());
    pb::Compare { result, target, key, target_union: Some(TargetUnion::ModRevision(revision)) }
}

pub fn get(key: Bytes) -> pb::RequestOp {
    range(key, Bytes::new(), 0, 0)
}

pub fn range(key: Bytes, range_end: Bytes, limit: i64, revision: i64) -> pb::RequestOp {
    op(Request::RequestRange(pb::RangeRequest { key, range_end, limit, revision }))
}

fn put(key: Bytes, value: Bytes) -> pb::RequestOp {
    op(Request::RequestPut(pb::PutRequest { key, value }))
}

fn delete(key: Bytes, range_end: Bytes) -> pb::RequestOp {
    op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end }))
}

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// The keys and values that a step of a transaction found.
pub fn found(response: &pb::TxnResponse, step: usize) -> (&[pb::KeyValue], bool) {
    match response.responses.get(step).and_then(|response| response.response.as_ref()) {
        Some(Response::ResponseRange(range)) => (&range.kvs, range.more),
        _ => (&[], false),
    }
}
