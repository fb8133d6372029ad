//! Server-side apply, and the record of who set which field.
//!
//! ```text
//!  live + configuration --merge--> --prune what the applier dropped--> conflicts? --> object + managedFields
//!  old + new            --compare--------------------------------------------------> managedFields
//! ```
//! Everything is an argument, the time included: these functions decide, the API server stores.

mod conflicts;
mod last_applied;
mod managers;
mod set;
mod typed;
mod writer;

use serde_json::Value;

use crate::decode::{Decoded, FieldValidation, Target, Wording, shape, with_type, zero};
use crate::document::{Raw, UNTYPED_MAP, yaml};
use crate::patch::unforeseen;
use crate::status::Status;
use conflicts::Conflicts;
use managers::{Entry, Managers, Owner, put};
use set::Set;
use typed::{Difference, Typed, compare, equal_by_value, fields_of, merge, remove};

pub use writer::Writer;

/// Owner of what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The new object with `managedFields` brought up to date after a create (no `live`) or an update.
///
/// The caller has put the object in order before: defaults are set, fields that the endpoint ignores are the old ones.
pub fn track_update(target: &Target<'_>, writer: &Writer<'_>, live: Option<&Value>, mut new: Value) -> Value {
    let managers = live_or_new(live, &new, !writer.subresource.is_empty());
    put(&mut new, Managers::default());
    let managers = if managers.0.is_empty() && live.is_some() {
        managers
    } else {
        let empty = zero(target.schema);
        update(target, writer, live.unwrap_or(&empty), &new, managers, None)
    };
    put(&mut new, managers);
    new
}

/// The owners to start from: the client may set them, reset them (an empty list, or one empty entry), or leave them out.
fn live_or_new(live: Option<&Value>, new: &Value, subresource: bool) -> Managers {
    let of_live = || live.and_then(Managers::read).unwrap_or_default();
    if subresource {
        return of_live();
    }
    let given = new.pointer("/metadata/managedFields").and_then(Value::as_array);
    let reset = |entries: &Vec<Value>| match entries.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    };
    if given.is_some_and(reset) {
        return Managers::default();
    }
    match Managers::read(new) {
        Some(managers) if !managers.0.is_empty() => managers,
        _ => of_live(),
    }
}

/// Records what an update changed: its writer (or `by`) owns that now, nobody else does.
fn update(
    target: &Target<'_>,
    writer: &Writer<'_>,
    live: &Value,
    new: &Value,
    mut managers: Managers,
    by: Option<&str>,
) -> Managers {
    let api_version = target.api_version();
    let owner = writer.owner(false, &api_version);
    let owner = by.map_or(owner.clone(), |name| Owner { name: name.into(), ..owner });
    let ignored = writer.ignored();
    let Difference { added: mut taken, mut removed, modified } =
        compare(Some(live), Some(new), Typed::root(target.schema));
    taken.add(modified);
    taken.remove_below(&ignored);
    removed.remove_below(&ignored);
    for entry in &mut managers.0 {
        entry.fields.remove(&taken);
        entry.fields.remove(&removed);
    }
    managers.drop_empty();
    if !taken.is_empty() {
        // Nobody owns the fields that only name the object, so a writer that sets nothing else is not recorded.
        let fresh = Entry { owner: owner.clone(), fields: taken, api_version, time: Some(writer.now.into()) };
        match managers.get_mut(&owner) {
            None => {
                managers.0.push(fresh);
                managers.strip(&owner);
            }
            Some(known) => {
                let mut alone = Managers(vec![fresh]);
                alone.strip(&owner);
                if let Some(taken) = alone.0.pop() {
                    known.fields = known.fields.union(&taken.fields);
                    known.time = taken.time;
                }
            }
        }
    }
    managers.cap();
    managers
}

/// Applies a configuration: answers the object as it becomes, `managedFields` included, not yet defaulted.
///
/// Without a `live` object the configuration makes one.
///
/// # Errors
/// 400 for a body that is no object of the target's type, 409 for conflicts with other managers unless `force` is set,
/// 500 for one that does not fit the schema (upstream's code for it).
pub fn apply(
    target: &Target<'_>,
    writer: &Writer<'_>,
    force: bool,
    live: Option<&Value>,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (config, repeated) = read(body)?;
    let empty = with_type(zero(target.schema), target.kind, &target.api_version());
    let value = apply_config(target, writer, force, live.unwrap_or(&empty), &config)?;
    if validation == FieldValidation::Strict && !repeated.is_empty() {
        let lines = repeated.join("\n  ");
        return Err(Status::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}"
        )));
    }
    let warnings = if validation == FieldValidation::Warn { repeated } else { Vec::new() };
    Ok(Decoded { value, warnings })
}

/// The configuration, and its repeated keys.
fn read(body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let text = String::from_utf8_lossy(body);
    let unread = |error: &str| {
        Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: {error}"))
    };
    let document = yaml::parse(&text).map_err(|fault| fault.status(unread))?;
    match document.value {
        Raw::Map(_) => Ok((document.value.into_value(), document.repeated)),
        Raw::Null => Ok((Value::Object(serde_json::Map::new()), document.repeated)),
        other => Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: {}",
            other.misfit(UNTYPED_MAP)
        ))),
    }
}

fn apply_config(
    target: &Target<'_>,
    writer: &Writer<'_>,
    force: bool,
    live: &Value,
    config: &Value,
) -> Result<Value, Status> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != target.api_version() || kind != target.kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
    }
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    check(target, config)?;
    let mut managers =
        Managers::read(live).ok_or_else(|| unforeseen("failed to decode managed fields: malformed entry"))?;
    let mut bare = live.clone();
    put(&mut bare, Managers::default());
    if managers.0.is_empty() {
        let nothing = zero(target.schema);
        let plain = Writer { subresource: "", ..*writer };
        managers = update(target, &plain, &nothing, &bare, managers, Some(BEFORE_FIRST_APPLY));
    }
    let outcome = match attempt(target, writer, force, &bare, config, managers.clone()) {
        Err(conflicts) if last_applied::may_take(target, writer, &bare, &conflicts) => {
            attempt(target, writer, true, &bare, config, managers)
        }
        outcome => outcome,
    };
    let (merged, mut managers) = outcome.map_err(|conflicts| conflicts.status())?;
    managers.strip(&writer.owner(true, ""));
    let mut object = match merged {
        None => bare,
        Some(merged) => {
            let (value, mut problems) = shape(Raw::sorted(&merged), target.schema, Wording::Unstructured);
            if let Some(error) = problems.error() {
                return Err(unforeseen(format!(
                    "failed to convert merged object to {api_version}, Kind={kind}: {error}"
                )));
            }
            if let Some(entry) = managers.get_mut(&writer.owner(true, "")) {
                entry.time = Some(writer.now.into());
            }
            with_type(value, target.kind, &target.api_version())
        }
    };
    last_applied::keep_in_step(writer, &mut object, config);
    put(&mut object, managers);
    Ok(object)
}

/// Whether a configuration fits the schema.
fn check(target: &Target<'_>, config: &Value) -> Result<(), Status> {
    let mut faults = typed::check(config, target.schema);
    if faults.is_empty() {
        return Ok(());
    }
    let all =
        if faults.len() == 1 { faults.remove(0) } else { format!("errors:\n  {}", faults.join("\n  ")) };
    let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or("");
    let (group, version, kind) = (target.group, target.version, target.kind);
    Err(unforeseen(format!(
        "failed to create typed patch object ({}/{}; {group}/{version}, Kind={kind}): {all}",
        text("/metadata/namespace"),
        text("/metadata/name")
    )))
}

/// One try: the merged object (nothing if it is the live one) and the owners, or who stands against it.
fn attempt(
    target: &Target<'_>,
    writer: &Writer<'_>,
    force: bool,
    live: &Value,
    config: &Value,
    mut managers: Managers,
) -> Result<(Option<Value>, Managers), Conflicts> {
    let schema = Typed::root(target.schema);
    let owner = writer.owner(true, "");
    let ignored = writer.ignored();
    let merged = merge(Some(live), Some(config), schema).unwrap_or_default();
    let last = managers.get(&owner).map(|entry| entry.fields.clone()).unwrap_or_default();
    let old_time = managers.get(&owner).and_then(|entry| entry.time.clone());
    let fields = fields_of(config, schema).without_below(&ignored);
    managers.0.retain(|entry| entry.owner != owner);
    managers.0.push(Entry {
        owner: owner.clone(),
        fields,
        api_version: target.api_version(),
        time: old_time,
    });
    let merged = prune(target, merged, &managers, &last);

    let Difference { added, removed, modified } = compare(Some(live), Some(&merged), schema);
    let taken = modified.union(&added).without_below(&ignored);
    let removed = removed.without_below(&ignored);
    let mut conflicts = Conflicts::default();
    for entry in managers.0.iter_mut().filter(|entry| entry.owner != owner) {
        let contested = entry.fields.intersection(&taken);
        if !contested.is_empty() {
            conflicts.0.push((entry.owner.clone(), contested.clone()));
        }
        entry.fields = entry.fields.difference(&contested).difference(&removed);
    }
    if !force && !conflicts.0.is_empty() {
        return Err(conflicts);
    }
    managers.drop_empty();
    Ok(((!equal_by_value(live, &merged)).then_some(merged), managers))
}

/// Takes out what the applier owned before, no longer names, and nobody else owns.
fn prune(target: &Target<'_>, merged: Value, managers: &Managers, last: &Set) -> Value {
    if last.is_empty() {
        return merged;
    }
    let typed = Typed::root(target.schema);
    let named = |set: &Set| set.with_named_fields(target.schema);
    let fields = |value: &Value| named(&fields_of(value, typed));
    let all = fields(&merged);
    let mut owned = Set::default();
    for entry in &managers.0 {
        owned.add(named(&entry.fields));
    }
    // Removing an item removes what is below it; what others own there is added back.
    let pruned = remove(&merged, typed, &named(last));
    let pruned = remove(&merged, typed, &all.difference(&fields(&pruned).union(&owned)));
    // Some fields are missing now only because they lay below a removed one. Those that the applier never owned stay.
    let gone = all.difference(&fields(&pruned)).intersection(&named(last));
    remove(&merged, typed, &gone)
}

/// If two objects differ in nothing but the times of their `managedFields`, gives the new one the old times: such a
/// write changes nothing.
pub fn keep_times(old: &Value, new: &mut Value) {
    let timeless = |value: &Value| {
        let mut value = value.clone();
        if let Some(entries) = value.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.shift_remove("time");
            }
            entries.sort_by_cached_key(ToString::to_string);
        }
        value
    };
    let Some(fields) = old.pointer("/metadata/managedFields") else { return };
    if !equal_by_value(&timeless(old), &timeless(new)) {
        return;
    }
    if let Some(slot) = new.pointer_mut("/metadata/managedFields") {
        *slot = fields.clone();
    }
}

#[cfg(test)]
mod tests;
