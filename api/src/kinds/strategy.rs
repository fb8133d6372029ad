//! What kinds have in common around their own rules: what a write may touch, and when the generation counts.

use serde_json::Value;

use crate::defaults::map_at;
use crate::kind::Strategy;

/// The strategy of a kind that has no status and needs no generation; rows override what differs.
pub const PLAIN: Strategy = Strategy {
    default: |_, _| {},
    prepare_create: |_, _| {},
    prepare_update: |_, _, _| {},
    prepare_status_update: |_, new, old| keep_all_but_status(new, old),
    validate: |kind, object, errors| kind.check_metadata(object, errors),
    validate_update: |kind, new, old, errors| kind.check_metadata_update(new, old, errors),
    validate_status_update: |kind, new, old, errors| kind.check_metadata_update(new, old, errors),
    early_warnings: |_, _| Vec::new(),
    warnings: |_, _, _| Vec::new(),
    create_on_update: false,
    unconditional_update: true,
    delete_answers_object: false,
};

/// Takes the value of the top-level `field` over from `old`, absence included.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) if !value.is_null() => drop(new.insert(field.into(), value.clone())),
        _ => drop(new.shift_remove(field)),
    }
}

/// Drops the top-level `field`.
pub fn clear(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.shift_remove(field);
    }
}

/// The generation that an object carries; 0 if none.
pub fn generation(object: &Value) -> i64 {
    crate::read::int(object, "/metadata/generation")
}

/// Writes `metadata.generation`.
pub fn set_generation(object: &mut Value, generation: i64) {
    if let Some(metadata) = map_at(object, "metadata") {
        metadata.insert("generation".into(), generation.into());
    }
}

/// Starts a counted object: with its first, empty status and generation 1.
pub fn start_counting(object: &mut Value, status: Value) {
    object["status"] = status;
    set_generation(object, 1);
}

/// A write to the object leaves its status alone, and counts if the spec changed.
pub fn count_spec_changes(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    let counted = generation(old).saturating_add(i64::from(new.get("spec") != old.get("spec")));
    set_generation(new, counted);
}

/// A write to `/status` leaves everything else alone, but for `metadata`, whose labels, annotations and finalizers it may
/// change.
pub fn keep_all_but_status(new: &mut Value, old: &Value) {
    keep(new, old, "spec");
    if generation(old) != 0 {
        set_generation(new, generation(old));
    }
}
