//! Who owns which field: how writes reach the rules of server-side apply.

use std::collections::HashSet;

use coracle_api::apply::{Writer, keep_times, track_update};
use coracle_api::decode::Target;
use coracle_api::{Kind, Status};
use jiff::Timestamp;
use serde_json::Value;

use super::meta::time_text;
use super::operation::Context;

/// The longest name of a manager.
const NAME_MAX: usize = 128;

/// The name under which a writer owns fields: what it calls itself, or the first word of its user agent.
pub fn manager(context: &Context) -> String {
    if !context.field_manager.is_empty() {
        return context.field_manager.clone();
    }
    let word = context.user_agent.split('/').next().unwrap_or_default();
    let mut name: String = word.chars().filter(|c| !c.is_control()).collect();
    while name.len() > NAME_MAX {
        name.pop();
    }
    if name.is_empty() { "unknown".into() } else { name }
}

/// Fields that nobody comes to own by writing here, because the write does not touch them.
fn ignored(kind: &Kind, sub: &str) -> &'static [&'static str] {
    kind.resets(Some(sub).filter(|sub| !sub.is_empty()))
}

/// Does something in the name of a writer.
pub fn as_writer<T>(
    context: &Context,
    kind: &Kind,
    sub: &str,
    now: Timestamp,
    act: impl FnOnce(&Writer<'_>) -> T,
) -> T {
    let (manager, now) = (manager(context), time_text(now));
    act(&Writer { manager: &manager, subresource: sub, now: &now, ignored: ignored(kind, sub) })
}

/// Notes in the new object that its writer now owns what it changed.
pub fn track(
    context: &Context,
    kind: &Kind,
    old: Option<&Value>,
    new: Value,
    sub: &str,
    now: Timestamp,
) -> Value {
    let target = Target::of(kind);
    let mut new = as_writer(context, kind, sub, now, |writer| track_update(&target, writer, old, new));
    if let Some(old) = old {
        keep_times(old, &mut new);
    }
    new
}

/// Applies a configuration to what is there.
///
/// # Errors
/// What [`coracle_api::apply::apply`] says.
pub fn apply(
    context: &Context,
    kind: &Kind,
    sub: &str,
    force: bool,
    live: Option<&Value>,
    body: &[u8],
    now: Timestamp,
) -> Result<coracle_api::decode::Decoded, Status> {
    let target = Target::of(kind);
    let validation = context.field_validation;
    as_writer(context, kind, sub, now, |writer| {
        coracle_api::apply::apply(&target, writer, force, live, body, validation)
    })
}

/// Drops owner references that are there twice.
///
/// Source: `dedupOwnerReferencesAndAddWarning` in `k8s.io/apiserver/pkg/endpoints/handlers/create.go`.
pub fn drop_double_owners(object: &mut Value, warnings: &mut Vec<String>) {
    let Some(list) = object["metadata"]["ownerReferences"].as_array().filter(|list| list.len() > 1) else {
        return;
    };
    let (mut kept, mut doubles): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut seen, mut reported) = (HashSet::new(), HashSet::new());
    for reference in list {
        // All come out of the same shape, so equal ones are the same text.
        if seen.insert(reference.to_string()) {
            kept.push(reference.clone());
        } else {
            let uid = reference["uid"].as_str().unwrap_or_default();
            doubles.extend(reported.insert(uid).then(|| uid.to_owned()));
        }
    }
    if doubles.is_empty() {
        return;
    }
    object["metadata"]["ownerReferences"] = kept.into();
    warnings.push(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        doubles.join(", ")
    ));
}
