//! How keys and changes look on disk: a line of JSON that a person can read, and behind it the object's own bytes.

use bytes::Bytes;
use coracle_api::{Key, Revision, kinds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Committed, Verb};

/// Objects by key. Everything is in one tree, told apart by its first byte, so that one batch covers it all.
pub const BASE: u8 = b'b';
/// Changes by revision.
pub const LOG: u8 = b'l';
/// The key of the format marker.
pub const FORMAT: &[u8] = b"mformat";
/// What the marker says. A later format reads this one or refuses it by name.
pub const FORMAT_1: &[u8] = b"coracle store 1";
/// The key of the revision up to which everything is folded into the base.
pub const FLOOR: &[u8] = b"mfloor";

/// The key of an object: group, resource, namespace and name. Versions of one kind share a place.
pub fn base_key(key: &Key) -> Vec<u8> {
    let text = format!("{}/{}/{}/{}", key.kind.group, key.kind.plural, key.namespace, key.name);
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.push(BASE);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The key of a change: big-endian, so that the log is in order.
pub fn log_key(revision: Revision) -> [u8; 9] {
    let mut bytes = [LOG; 9];
    bytes[1..].copy_from_slice(&revision.0.to_be_bytes());
    bytes
}

#[derive(Serialize, Deserialize)]
struct Head {
    revision: u64,
    time: Timestamp,
    actor: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Revision>,
    verb: String,
    group: String,
    version: String,
    resource: String,
    namespace: String,
    name: String,
}

/// A change as it stands in the log.
pub fn encode(change: &Committed) -> Vec<u8> {
    let head = Head {
        revision: change.revision.0,
        time: change.time,
        actor: change.actor.clone(),
        causes: change.causes.clone(),
        verb: change.verb.word().into(),
        group: change.key.kind.group.into(),
        version: change.key.kind.version.into(),
        resource: change.key.kind.plural.into(),
        namespace: change.key.namespace.clone(),
        name: change.key.name.clone(),
    };
    let mut bytes = Vec::with_capacity(change.json.len() + 256);
    // Strings, numbers and a time: there is nothing here that JSON cannot hold.
    serde_json::to_writer(&mut bytes, &head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(&change.json);
    bytes
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// A text that says what is wrong with the record.
pub fn decode(bytes: &[u8]) -> Result<Committed, String> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("a record without a head")?;
    let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|e| format!("a record's head: {e}"))?;
    let kind = kinds::by_resource(&head.group, &head.version, &head.resource)
        .ok_or_else(|| format!("an object of the unknown kind {}.{}", head.resource, head.group))?;
    let verb = match head.verb.as_str() {
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        other => return Err(format!("the unknown verb {other}")),
    };
    Ok(Committed {
        revision: Revision(head.revision),
        time: head.time,
        actor: head.actor,
        causes: head.causes,
        verb,
        key: Key::new(kind, head.namespace, head.name),
        json: Bytes::copy_from_slice(&bytes[end + 1..]),
        card: None,
    })
}
