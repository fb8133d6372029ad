//! An object as the server holds it: its bytes, encoded once, and beside them what selectors ask of it.

pub mod claims;
pub mod encoding;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use claims::Claim;
use coracle_api::kind::Selectable;
use coracle_api::{Key, Kind, KindRef, Object};
use jiff::Timestamp;
use serde_json::Value;

/// What selectors look at, read once when an object is written, so that no reader decodes an object to pass it over.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What only this object may hold.
    pub claims: Box<[Claim]>,
    /// `metadata.labels`; few, so that looking through them is quick.
    labels: Vec<(String, String)>,
    /// The values of the kind's selectable fields, in the order of its row; none for what the key says.
    fields: Vec<String>,
}

impl Summary {
    /// The summary of an object.
    pub fn of(kind: &Kind, object: &Value) -> Summary {
        let meta = &object["metadata"];
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let field = |s: &Selectable| if is_in_key(&s.field) { String::new() } else { s.value(object) };
        Summary {
            uid: meta["uid"].as_str().unwrap_or_default().into(),
            deleting: meta["deletionTimestamp"].is_string(),
            claims: Claim::of(kind, object).into(),
            labels: meta["labels"].as_object().into_iter().flatten().filter_map(label).collect(),
            fields: kind.selectable.iter().map(field).collect(),
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

fn is_in_key(field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace")
}

/// An object, and what is known of it without reading it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object.
    pub object: Arc<Object>,
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Made when it is first asked for: what is read from disk at a start is often never looked at.
    summary: OnceLock<Summary>,
    written: Option<Timestamp>,
    line: Option<(&'static str, Bytes)>,
}

impl Entry {
    /// An object of which nothing more is known.
    pub fn new(object: Arc<Object>) -> Entry {
        Entry { object, known: Arc::default() }
    }

    /// An object as a change left it.
    pub fn committed(object: Arc<Object>, summary: Option<Summary>, written: Timestamp) -> Entry {
        let summary = summary.map_or_else(OnceLock::new, OnceLock::from);
        Entry { object, known: Arc::new(Known { summary, written: Some(written), line: None }) }
    }

    /// The same object under another row of its kind: what was read by the old row is read again.
    pub fn under(&self, row: &KindRef) -> Entry {
        let known = Known { written: self.known.written, ..Known::default() };
        Entry { object: under(row, &self.object), known: Arc::new(known) }
    }

    /// With the line that tells watches of an event of some type.
    #[must_use]
    pub fn with_line(mut self, event: &'static str, line: Option<Bytes>) -> Entry {
        if let Some(known) = Arc::get_mut(&mut self.known) {
            known.line = line.map(|line| (event, line));
        }
        self
    }

    /// When it was written, if it is one that is kept.
    pub fn written(&self) -> Option<Timestamp> {
        self.known.written
    }

    /// The line that tells watches of an event of this type, if it was made beforehand.
    pub fn line(&self, event: &str) -> Option<&Bytes> {
        self.known.line.as_ref().filter(|(of, _)| *of == event).map(|(_, line)| line)
    }

    /// The object as a tree. The registry only holds what it has itself encoded, so this does not fail.
    pub fn value(&self) -> Value {
        self.object.value().unwrap_or_default()
    }

    /// Its summary.
    pub fn summary(&self) -> &Summary {
        self.known.summary.get_or_init(|| Summary::of(&self.object.key.kind, &self.value()))
    }

    /// The value of one of the kind's selectable fields; empty for any other.
    pub fn field(&self, field: &str) -> &str {
        let key = &self.object.key;
        match field {
            "metadata.name" => &key.name,
            "metadata.namespace" => &key.namespace,
            _ => {
                let position = key.kind.selectable.iter().position(|s| s.field == field);
                position.and_then(|at| self.summary().fields.get(at)).map_or("", String::as_str)
            }
        }
    }
}

/// The kind that is kept where this one only shows it.
pub fn stored(kind: &KindRef) -> KindRef {
    kind.view.map_or_else(|| kind.clone(), |view| view.of.into())
}

/// The same object under another row of its kind.
pub fn under(row: &KindRef, object: &Object) -> Arc<Object> {
    let key = Key { kind: row.clone(), ..object.key.clone() };
    Arc::new(Object { key, ..object.clone() })
}

/// Where an object stands among those of its kind: upstream sorts by this text, not by namespace and then name.
pub fn ns_name(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}
