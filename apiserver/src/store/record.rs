//! How changes look on disk: a line of JSON that a person can read, and after it the object's own bytes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::{Key, Kind, KindRef, Object, Revision, kinds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Committed, Verb};

/// The key of an object in the base: group, resource, namespace and name. Versions of one kind share it.
pub fn base_key(key: &Key) -> Vec<u8> {
    format!("b{}/{}/{}/{}", key.kind.group(), key.kind.plural(), key.namespace, key.name).into_bytes()
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    revision: u64,
    time: Timestamp,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Revision>,
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// How long the object's JSON is, which ends in a newline of its own.
    bytes: usize,
}

/// Appends the record of a change.
pub fn encode(change: &Committed, out: &mut Vec<u8>) {
    let Object { key, revision, json } = &*change.object;
    let head = Head {
        revision: revision.0,
        time: change.time,
        actor: Cow::Borrowed(&change.actor),
        causes: change.causes.clone(),
        verb: Cow::Borrowed(change.verb.word()),
        group: Cow::Borrowed(key.kind.group()),
        version: Cow::Borrowed(key.kind.version()),
        resource: Cow::Borrowed(key.kind.plural()),
        namespace: Cow::Borrowed(&key.namespace),
        name: Cow::Borrowed(&key.name),
        bytes: json.len(),
    };
    // Strings, numbers and a time: there is nothing here that JSON cannot hold.
    serde_json::to_writer(&mut *out, &head).unwrap_or_default();
    out.push(b'\n');
    out.extend_from_slice(json);
    out.push(b'\n');
}

thread_local! {
    /// The last kind that is not built in: objects of one kind mostly come one after the other.
    static LAST: RefCell<Option<KindRef>> = const { RefCell::new(None) };
}

/// The row of a kind; of one that is not built in only the names. Its definition may be among what is still to be read, so
/// it is whoever holds the table of kinds that puts the row in its place.
fn row(group: &str, version: &str, resource: &str) -> KindRef {
    kinds::built_in(group, version, resource).unwrap_or_else(|| {
        LAST.with_borrow_mut(|last| {
            let same = |k: &&KindRef| (k.group(), k.version(), k.plural()) == (group, version, resource);
            let known = last.as_ref().filter(same).cloned();
            known.unwrap_or_else(|| {
                last.insert(Arc::new(Kind::unknown(group, version, resource)).into()).clone()
            })
        })
    })
}

/// Reads what [`encode`] wrote at the beginning of some bytes, and how many they are.
///
/// # Errors
/// A text that says what is wrong with the record.
pub fn decode(bytes: &[u8]) -> Result<(Committed, usize), String> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("a record without a head")?;
    let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|e| format!("a record's head: {e}"))?;
    let kind = row(&head.group, &head.version, &head.resource);
    let verb = match head.verb.as_ref() {
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => return Err(format!("the unknown verb {other}")),
    };
    let ends = (end + 1).checked_add(head.bytes).and_then(|behind| behind.checked_add(1));
    let behind = ends.ok_or("a record of an impossible length")?;
    let json = bytes.get(end + 1..behind - 1).ok_or("a record that ends too soon")?;
    let object = Object {
        key: Key::new(kind, head.namespace, head.name),
        revision: Revision(head.revision),
        // A copy: the object must not hold on to the whole file.
        json: Bytes::copy_from_slice(json),
    };
    let (actor, causes) = (head.actor.into_owned(), head.causes);
    let change = Committed {
        object: Arc::new(object),
        time: head.time,
        actor,
        causes,
        verb,
        summary: None,
        line: None,
    };
    Ok((change, behind))
}
