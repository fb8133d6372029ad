//! How `kubectl apply --server-side` takes over from client-side apply, by the annotation that the latter leaves.

use serde_json::Value;

use super::conflicts::Conflicts;
use super::set::Set;
use super::typed::{Typed, compare, fields_of};
use super::writer::Writer;
use crate::decode::Target;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The only manager for which the annotation counts.
const KUBECTL: &str = "kubectl";
/// Upstream's limit of all annotations together.
const MOST_BYTES: usize = 256 * 1024;

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str()
}

/// Whether all conflicts are about fields that client-side apply set and nobody has changed since.
pub(super) fn may_take(
    target: &Target<'_>,
    writer: &Writer<'_>,
    live: &Value,
    conflicts: &Conflicts,
) -> bool {
    if writer.manager != KUBECTL {
        return false;
    }
    let Some(last) = annotation(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return false;
    };
    let typed = Typed::root(target.schema);
    let allowed = fields_of(&last, typed);
    let changed = compare(Some(&last), Some(live), typed);
    let allowed =
        allowed.difference(&changed.modified).difference(&changed.added).difference(&changed.removed);
    let mut contested = Set::default();
    for (_, fields) in &conflicts.0 {
        contested.add(fields.clone());
    }
    contested.difference(&allowed).is_empty()
}

/// Where the annotation is, server-side apply by kubectl keeps it up to date, so that client-side apply still works.
pub(super) fn keep_in_step(writer: &Writer<'_>, object: &mut Value, config: &Value) {
    if writer.manager != KUBECTL || annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    if text.len() > MOST_BYTES {
        annotations.shift_remove(ANNOTATION);
    } else {
        annotations.insert(ANNOTATION.into(), text.into());
    }
}
