//! `ConfigMap`.

use serde_json::Value;

use super::strategy::PLAIN;
use super::{Borrowed, Named, Static, USUAL};
use crate::field::{Errors, Field, Path};
use crate::kind::{Kind, Strategy};
use crate::names;
use crate::read::is_true;
use crate::table::cells::count;
use crate::table::{Cell::Computed, Column, Table};
use crate::validate::rules::equal_in_go;

/// The row of `ConfigMap`.
pub static CONFIG_MAP: Kind = Kind {
    kind: Borrowed("ConfigMap"),
    plural: Borrowed("configmaps"),
    singular: Borrowed("configmap"),
    short_names: Borrowed("cm"),
    schema: Named("io.k8s.api.core.v1.ConfigMap"),
    table: Static(&TABLE),
    strategy: &STRATEGY,
    ..USUAL
};

static TABLE: Table = Table {
    columns: Borrowed(&[
        Column::name(),
        Column::text("Data", "How many entries it has.", ENTRIES),
        Column::age(),
    ]),
    ..Table::PLAIN
};

const ENTRIES: crate::table::Cell =
    Computed(|map, _| (count(map, "/data") + count(map, "/binaryData")).into());

static STRATEGY: Strategy = Strategy { validate, validate_update, ..PLAIN };

/// The most bytes that the values of a ConfigMap or of a Secret may have together.
pub(super) const SIZE_MAX: usize = 1024 * 1024;

fn validate(kind: &Kind, map: &Value, errors: &mut Errors) {
    kind.check_metadata(map, errors);
    let binary = Field::top(map, "binaryData");
    let mut size = 0;
    for (key, value) in Field::top(map, "data").entries() {
        errors.all_invalid(&value, key, names::config_key(key));
        if binary.value.get(key).is_some() {
            errors.invalid(&value, key, "duplicate of key present in binaryData");
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        errors.all_invalid(&value, key, names::config_key(key));
        size += decoded_size(value.text());
    }
    if size > SIZE_MAX {
        // Upstream means the whole object by an empty path, and prints it so.
        errors.too_long(&Path::root("[]"), SIZE_MAX);
    }
}

fn validate_update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    kind.check_metadata_update(new, old, errors);
    frozen(new, old, &["data", "binaryData"], errors);
    validate(kind, new, errors);
}

/// What an immutable ConfigMap or Secret may not change: that it is so, and `fields`.
pub(super) fn frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if !is_true(old, "/immutable") {
        return;
    }
    let thawed = Some("immutable").filter(|_| !is_true(new, "/immutable"));
    let changed = fields.iter().copied().filter(|field| !equal_in_go(&new[*field], &old[*field]));
    for field in thawed.into_iter().chain(changed) {
        errors.forbidden(&Path::root(field), "field is immutable when `immutable` is set");
    }
}

/// How many bytes base64 text stands for.
pub(super) fn decoded_size(text: &str) -> usize {
    let digits = text.bytes().filter(|c| !matches!(c, b'=' | b'\n' | b'\r')).count();
    digits * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::CONFIG_MAP;
    use serde_json::json;

    fn map(more: Value) -> Value {
        let mut map = json!({"metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}});
        map.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        map
    }

    #[test]
    fn keys_and_sizes() {
        let cases = [
            (map(json!({"data": {"A-b_c.d": "1"}, "binaryData": {"c": "MQ=="}})), &[][..]),
            (map(json!({"data": {"..a": "1", "b c": "2"}})), &["data[..a]", "data[b c]"][..]),
            (map(json!({"data": {"a": "1"}, "binaryData": {"a": "MQ=="}})), &["data[a]"][..]),
            (map(json!({"data": {"a": "x".repeat(SIZE_MAX)}})), &[][..]),
            (map(json!({"data": {"a": "x".repeat(SIZE_MAX)}, "binaryData": {"b": "MQ=="}})), &["[]"][..]),
        ];
        for (map, expected) in cases {
            let mut errors = Errors::new();
            validate(&CONFIG_MAP, &map, &mut errors);
            assert_eq!(errors.0.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn an_immutable_map_keeps_its_data() {
        let old = map(json!({"data": {"a": "1"}, "immutable": true}));
        let cases = [
            (map(json!({"data": {"a": "1"}, "immutable": true})), &[][..]),
            (map(json!({"data": {"a": "1"}})), &["immutable"][..]),
            (map(json!({"immutable": true, "binaryData": {"b": "MQ=="}})), &["data", "binaryData"][..]),
        ];
        for (new, expected) in cases {
            let mut errors = Errors::new();
            validate_update(&CONFIG_MAP, &new, &old, &mut errors);
            assert_eq!(errors.0.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), expected);
        }
    }
}
